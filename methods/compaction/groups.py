"""Which maps of an encoder must have the same channels."""

from collections import Counter
from collections.abc import Sequence

from torch import nn

from methods.compaction.wires import Kind, Wire


class Groups:
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
    return place if convolution(encoder, wires[place]).groups == 1 else None


def is_worth_spreading(conv: nn.Conv2d, *, inputs: int, few: int, many: int) -> bool:
    """Tell whether a branch takes fewer MACs if it computes few channels, and a 1x1 convolution puts them among many.

    Args:
        conv: the last one of the branch.
        inputs: channels that it reads.
        few: channels of the branch.
        many: channels of the sum that it ends in, all of which it computes otherwise.
    """
    return few * many < (many - few) * inputs * conv.kernel_size[0] * conv.kernel_size[1]


def convolution(encoder: nn.Module, wire: Wire) -> nn.Conv2d:
    """Return the convolution that makes a map."""
    conv = encoder.get_submodule(wire.path)
    assert isinstance(conv, nn.Conv2d)
    return conv
