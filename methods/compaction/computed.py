"""Which channels of each map training has to compute: those whose filter acts, and where those of a branch go in a sum.

Unlike ``plan``, nothing is asked about values: in training a channel without a filter is whatever its normalisation's
shift is just then, and that moves. And a channel that nothing reads is computed: running statistics follow it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods import masking
from methods.compaction.groups import Groups, convolution, is_worth_spreading
from methods.compaction.wires import Kind, Wire

VECTOR = 8  # floats of a vector instruction; fewer channels take as long (measured: longer, in batch normalisation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """The channels that are computed.

    Attributes:
        kept: bool ``[C]`` of each map: which of its channels are computed; the others are constants.
        branches: place of a branch's last map -> bool ``[C]``: the channels of the sum that the branch ends in, where
            the branch computes fewer of them.
    """

    kept: Sequence[Tensor]
    branches: dict[int, Tensor]

    @classmethod
    def of(cls, encoder: nn.Module, wires: Sequence[Wire]) -> "Computed":
        """Read it off the masks of an encoder."""
        groups, acting = Groups(encoder, wires), _acting(encoder, wires)
        kept: dict[int, Tensor] = {}
        for place, each in enumerate(acting):
            number = groups.of[place]
            kept[number] = kept[number] | each if number in kept else each
        for place, wire in enumerate(wires):
            if wire.kind is Kind.CONVOLUTION and convolution(encoder, wire).groups > 1:
                for group in (groups.of[place], groups.of[wire.reads[0]]):
                    kept[group] = torch.ones_like(kept[group])
        ends = {groups.of[place] for place in groups.branches}
        kept = {
            number: each if number in ends else filled(each, torch.ones_like(each)) for number, each in kept.items()
        }
        branches = {}
        for place, last in groups.branches.items():
            whole = kept[groups.of[groups.sums[place]]]
            own = filled(kept[groups.of[place]], whole)
            conv = convolution(encoder, wires[last])
            inputs = int(kept[groups.of[wires[last].reads[0]]].sum())
            kept[groups.of[place]] = whole
            if is_worth_spreading(conv, inputs=inputs, few=int(own.sum()), many=int(whole.sum())):
                kept[groups.of[place]], branches[place] = own, whole
        found = [kept[number] for number in groups.of]
        for place, wire in enumerate(wires):
            if wire.kind in {Kind.NORMALISATION, Kind.RELU, Kind.SAME}:
                found[place] = found[wire.reads[0]]  # an identity at the end is a group of its own
        return cls(kept=found, branches=branches)


def filled(channels: Tensor, among: Tensor) -> Tensor:
    """Return the channels, at least one, and as many of ``among`` as make vector instructions whole.

    Args:
        channels: bool ``[C]``.
        among: bool ``[C]``, channels that may be computed too.
    """
    count = int(channels.sum())
    missing = max(1, -(-count // VECTOR)) * VECTOR - count
    found = channels.clone()
    found[(among & ~channels).nonzero().reshape(-1)[:missing]] = True
    return found


def _acting(encoder: nn.Module, wires: Sequence[Wire]) -> list[Tensor]:
    """Return, of each map, the channels that a filter acts on."""
    masks, found = masking.read(encoder), list[Tensor]()
    for wire in wires:
        layer = encoder.get_submodule(wire.path) if wire.path else None
        if wire.kind is Kind.IMAGE:
            first = next(each for each in wires if each.kind is Kind.CONVOLUTION)
            found.append(torch.ones(convolution(encoder, first).in_channels, dtype=torch.bool))
        elif wire.path in masks:
            found.append(masks[wire.path].flatten(1).any(1).cpu())
        elif isinstance(layer, nn.Conv2d):
            found.append(torch.ones(layer.out_channels, dtype=torch.bool))
        elif isinstance(layer, nn.Linear):
            found.append(torch.ones(layer.out_features, dtype=torch.bool))
        else:
            found.append(torch.stack([found[read] for read in wire.reads]).any(0))
    return found
