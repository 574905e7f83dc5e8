"""What stays of an encoder: the channels of every map, who carries constants, where few channels become many again.

Maps whose channels must be the same form a group: what normalises, rectifies or pools a map, and what is added to it.
Two things would keep zeros in, and are solved without a new kind of layer:

- **Constants.** Where channels are removed that are constant but not 0, one of them stays, and the weights that read
  the others are folded into those that read it. (Folding them into a bias would be wrong at the borders of padding.)
- **Sums.** A filter removed at the end of a residual branch lives on in the shortcut. The branch then computes its
  own channels alone, and a 1x1 convolution with a single 1 per column, whose bias holds what is constant, puts each
  where it belongs; only where that takes fewer multiply-accumulates than computing zeros.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.compaction.channels import Channels, channels, is_read
from methods.compaction.wires import Kind, Wire, wires

_LARGE = 0.1  # a constant that stays anyway carries the others, unless it is so much smaller than the largest


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
        carriers: place of a convolution -> which input channel carries the constants that it reads.
        spreads: place of a branch's last map -> where its channels go.
    """

    wires: Sequence[Wire]
    known: Sequence[Channels]
    kept: Sequence[Tensor]
    carriers: dict[int, int]
    spreads: dict[int, Spread]

    @classmethod
    def of(cls, encoder: nn.Module) -> "Plan":
        """Plan an encoder.

        Raises:
            ValueError: as ``wires``.
        """
        found = wires(encoder)
        known = channels(encoder, found)
        groups = _Groups(encoder, found)
        kept = _kept(encoder, found, known, groups)
        carriers = _carriers(encoder, found, known, groups, kept)
        for group in kept:
            if not group.any():
                group[0] = True  # no layer is without channels
        spreads = _spreads(encoder, found, known, groups, kept)
        return cls(
            wires=found,
            known=known,
            kept=[kept[groups.of[place]] for place in range(len(found))],
            carriers=carriers,
            spreads=spreads,
        )


class _Groups:
    """Which maps share their channels, and which branches may end with fewer than the sum that they end in.

    Attributes:
        of: of each map, the number of its group.
        branches: place of a branch's last map -> place of its last convolution.
        sums: place of a branch's last map -> place of the sum.
    """

    def __init__(self, encoder: nn.Module, wires: Sequence[Wire]) -> None:
        readers = Counter(read for wire in wires for read in wire.reads)
        self.branches: dict[int, int] = {}
        self.sums: dict[int, int] = {}
        self._parents = list(range(len(wires)))
        for place, wire in enumerate(wires):
            if wire.kind in {Kind.IMAGE, Kind.CONVOLUTION, Kind.FEATURES} or _is_end(encoder, wires, place):
                continue
            for read in wire.reads:
                last = _last_convolution(encoder, wires, readers, read) if wire.kind is Kind.SUM else None
                if last is None:
                    self._join(place, read)
                else:
                    self.branches[read], self.sums[read] = last, place
        roots = [self._root(place) for place in range(len(wires))]
        numbers = {root: number for number, root in enumerate(dict.fromkeys(roots))}
        self.of = [numbers[root] for root in roots]

    def _join(self, one: int, other: int) -> None:
        self._parents[self._root(one)] = self._root(other)

    def _root(self, place: int) -> int:
        while self._parents[place] != place:
            place = self._parents[place]
        return place


def _is_end(encoder: nn.Module, wires: Sequence[Wire], place: int) -> bool:
    """Tell whether a map is the output of an identity, which can be replaced by what gives all features."""
    path = wires[place].path
    return place == len(wires) - 1 and bool(path) and isinstance(encoder.get_submodule(path), nn.Identity)


def _last_convolution(encoder: nn.Module, wires: Sequence[Wire], readers: Counter[int], place: int) -> int | None:
    """Return the convolution that ends in this map and in nothing else, through a normalisation at most."""
    while wires[place].kind is Kind.NORMALISATION and readers[place] == 1:
        (place,) = wires[place].reads
    if wires[place].kind is not Kind.CONVOLUTION or readers[place] != 1:
        return None
    return place if _conv(encoder, wires[place]).groups == 1 else None


def _kept(encoder: nn.Module, wires: Sequence[Wire], known: Sequence[Channels], groups: _Groups) -> list[Tensor]:
    """Return, per group, the channels that any of its maps needs."""
    kept: dict[int, Tensor] = {}
    for place, wire in enumerate(wires):
        needed = known[place].is_needed
        is_whole = wire.kind in {Kind.IMAGE, Kind.FEATURES} or place == len(wires) - 1
        asked = torch.ones_like(needed) if is_whole else needed
        kept[groups.of[place]] = kept.get(groups.of[place], torch.zeros_like(asked)) | asked
    for place, wire in enumerate(wires):
        if wire.kind is Kind.CONVOLUTION and _conv(encoder, wire).groups > 1:
            for each in (place, wire.reads[0]):
                kept[groups.of[each]] = torch.ones_like(kept[groups.of[each]])
    return [kept[number] for number in range(len(kept))]


def _carriers(
    encoder: nn.Module, wires: Sequence[Wire], known: Sequence[Channels], groups: _Groups, kept: list[Tensor]
) -> dict[int, int]:
    """Choose who carries the constants that a convolution reads; whoever does stays."""
    carriers = {}
    for place, wire in enumerate(wires):
        if wire.kind is not Kind.CONVOLUTION:
            continue
        (read,) = wire.reads
        stays, size = kept[groups.of[read]], known[read].constant.nan_to_num(0.0).abs()
        asked = is_read(_conv(encoder, wire))[known[place].is_needed].any(0) & ~stays & (size > 0)
        if not asked.any():
            continue
        largest = torch.where(asked, size, 0.0)
        there = torch.where(stays, size, 0.0)
        chosen = int((there if there.max() >= _LARGE * largest.max() else largest).argmax())
        stays[chosen] = True
        carriers[place] = chosen
    return carriers


def _spreads(
    encoder: nn.Module, wires: Sequence[Wire], known: Sequence[Channels], groups: _Groups, kept: list[Tensor]
) -> dict[int, Spread]:
    """Decide which branches compute fewer channels than their sum has; the others compute all of these."""
    spreads = {}
    for place, last in groups.branches.items():
        of_branch, of_sum = groups.of[place], groups.of[groups.sums[place]]
        own, whole = kept[of_branch] & kept[of_sum], kept[of_sum]
        if not own.any():
            own[whole.nonzero()[0]] = True
        conv, inputs = _conv(encoder, wires[last]), int(kept[groups.of[wires[last].reads[0]]].sum())
        few, many = int(own.sum()), int(whole.sum())
        kernel = conv.kernel_size[0] * conv.kernel_size[1]
        if few * many < (many - few) * inputs * kernel:
            places = (whole.cumsum(0) - 1)[own]
            constant = torch.where(own, 0.0, known[place].constant.nan_to_num(0.0))[whole]
            spreads[place] = Spread(places=places, constant=constant)
        else:
            own = whole.clone()
        kept[of_branch] = own
    return spreads


def _conv(encoder: nn.Module, wire: Wire) -> nn.Conv2d:
    conv = encoder.get_submodule(wire.path)
    assert isinstance(conv, nn.Conv2d)
    return conv
