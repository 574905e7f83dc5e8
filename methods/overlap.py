"""How alike two sets of masks are. Positions are pooled over layers; layers are matched by name.

Source: the authors of SyncCP (Meng et al. 2023) report ``agreement`` alone. Two unrelated masks of density
d already agree on d^2 + (1 - d)^2 of the positions, 0.82 at d = 0.1, so the other three are shown with it
(ours).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Four views of one comparison, each at most 1; all are 1 for equal masks.

    Attributes:
        agreement: fraction of positions with the same entry.
        chance_corrected: ``(agreement - chance) / (1 - chance)``; chance is what independent masks with the
            same count in every layer agree on. 0 at chance, negative below it.
        iou: positions in both / positions in either.
        containment: positions in both / positions in the sparser one; 1 when nested.
    """

    agreement: float
    chance_corrected: float
    iou: float
    containment: float


def overlap(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Overlap:
    """Compare two sets of masks. Symmetric.

    A ratio of nothing to nothing is 1: it occurs only between masks that are equal, or nested in an empty
    one.

    Raises:
        ValueError: if they name different layers, or a layer's shapes differ.
    """
    if first.keys() != second.keys():
        raise ValueError(f"the masks name different layers: {sorted(first.keys() ^ second.keys())}.")
    size = both = in_first = in_second = 0
    chance = 0.0
    for name, mask in first.items():
        if mask.shape != second[name].shape:
            raise ValueError(f"{name}: shapes {tuple(mask.shape)} and {tuple(second[name].shape)} differ.")
        positions = mask.numel()
        ones, others = int(mask.count_nonzero()), int(second[name].count_nonzero())
        size += positions
        in_first += ones
        in_second += others
        both += int((mask.bool() & second[name].bool()).count_nonzero())
        chance += (ones * others + (positions - ones) * (positions - others)) / positions
    either = in_first + in_second - both
    agreement = (size - either + both) / size
    chance /= size
    return Overlap(
        agreement=agreement,
        chance_corrected=1.0 if both == either else (agreement - chance) / (1.0 - chance),
        iou=both / either if either else 1.0,
        containment=both / min(in_first, in_second) if min(in_first, in_second) else 1.0,
    )
