"""What stays of an encoder: the channels of every map, which layers melt, where few channels become many again.

Maps whose channels must be the same form a group: what normalises, rectifies or pools a map, and what is added to it.
Three things cost time that zeros do not need:

- **Constants.** Where channels are removed that are constant but not 0, what a convolution makes of them is the same
  for all images: a bias, or, where zero padding is under the kernel, a border (``BorderedConv2d``).
- **Normalisation.** In evaluation mode it is a scale and a shift per channel. Behind a convolution that nothing else
  reads, these melt into its weights and its bias.
- **Sums.** A filter removed at the end of a residual branch lives on in the shortcut. The branch then computes its
  own channels alone, and a 1x1 convolution with a single 1 per column, whose bias holds what is constant, puts each
  where it belongs; only where that takes fewer multiply-accumulates than computing zeros.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.compaction.channels import Channels, channels
from methods.compaction.groups import Groups, convolution, is_worth_spreading
from methods.compaction.wires import Kind, Wire, wires


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Where the channels of a branch go in the sum that it ends in.

    Attributes:
        places: int64 ``[L]``: in the sum's channels that stay.
        constant: float64 ``[K]``: what the branch adds to each channel that it does not compute; else 0.
    """

    places: Tensor
    constant: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What stays.

    Attributes:
        wires: the maps.
        known: about the channels of each.
        kept: bool ``[C]`` of each map: which channels stay.
        melts: place of a normalisation -> place of the convolution that it melts into.
        spreads: place of a branch's last map -> where its channels go.
    """

    wires: Sequence[Wire]
    known: Sequence[Channels]
    kept: Sequence[Tensor]
    melts: dict[int, int]
    spreads: dict[int, Spread]

    @classmethod
    def of(cls, encoder: nn.Module) -> "Plan":
        """Plan an encoder.

        Raises:
            ValueError: as ``wires``.
        """
        found = wires(encoder)
        known = channels(encoder, found)
        groups = Groups(encoder, found)
        kept = _kept(encoder, found, known, groups)
        for group in kept:
            if not group.any():
                group[0] = True  # no layer is without channels
        spreads = _spreads(encoder, found, known, groups, kept)
        return cls(
            wires=found,
            known=known,
            kept=[kept[groups.of[place]] for place in range(len(found))],
            melts=melting(found),
            spreads=spreads,
        )


def _kept(encoder: nn.Module, wires: Sequence[Wire], known: Sequence[Channels], groups: Groups) -> list[Tensor]:
    """Return, per group, the channels that any of its maps needs."""
    kept: dict[int, Tensor] = {}
    for place, wire in enumerate(wires):
        needed = known[place].is_needed
        is_whole = wire.kind in {Kind.IMAGE, Kind.FEATURES} or place == len(wires) - 1
        asked = torch.ones_like(needed) if is_whole else needed
        kept[groups.of[place]] = kept.get(groups.of[place], torch.zeros_like(asked)) | asked
    for place, wire in enumerate(wires):
        if wire.kind is Kind.CONVOLUTION and convolution(encoder, wire).groups > 1:
            for each in (place, wire.reads[0]):
                kept[groups.of[each]] = torch.ones_like(kept[groups.of[each]])
    return [kept[number] for number in range(len(kept))]


def melting(wires: Sequence[Wire]) -> dict[int, int]:
    """Return the place of each normalisation that melts into a convolution, and the place of the convolution."""
    readers = Counter(read for wire in wires for read in wire.reads)
    return {
        place: wire.reads[0]
        for place, wire in enumerate(wires)
        if wire.kind is Kind.NORMALISATION
        and wires[wire.reads[0]].kind is Kind.CONVOLUTION
        and readers[wire.reads[0]] == 1
    }


def _spreads(
    encoder: nn.Module, wires: Sequence[Wire], known: Sequence[Channels], groups: Groups, kept: list[Tensor]
) -> dict[int, Spread]:
    """Decide which branches compute fewer channels than their sum has; the others compute all of these."""
    spreads = {}
    for place, last in groups.branches.items():
        of_branch, of_sum = groups.of[place], groups.of[groups.sums[place]]
        own, whole = kept[of_branch] & kept[of_sum], kept[of_sum]
        if not own.any():
            own[whole.nonzero()[0]] = True
        conv, inputs = convolution(encoder, wires[last]), int(kept[groups.of[wires[last].reads[0]]].sum())
        if is_worth_spreading(conv, inputs=inputs, few=int(own.sum()), many=int(whole.sum())):
            places = (whole.cumsum(0) - 1)[own]
            constant = torch.where(own, 0.0, known[place].constant.nan_to_num(0.0))[whole]
            spreads[place] = Spread(places=places, constant=constant)
        else:
            own = whole.clone()
        kept[of_branch] = own
    return spreads
