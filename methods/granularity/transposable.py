"""N:M along the input channels and along the output channels: what stays N:M when the weight is transposed."""

import functools
import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

from methods.granularity.base import check_finite

LARGEST = 4  # of M: all masks of a block are tried, and of 8 x 8 with 2 a row there are 187 million
_AT_ONCE = 2**14  # blocks whose sums are held together: 12 MB for 2:4


def fits(shape: torch.Size, m: int) -> bool:
    """Return whether a weight (out, in, ...) divides into blocks of m output x m input channels."""
    return len(shape) >= 2 and shape[0] % m == 0 and shape[1] % m == 0


def keep(score: Tensor, n: int, m: int) -> Tensor:
    """Return a bool mask with n of every m inputs, and n of every m outputs, of the highest possible sum of scores.

    Of every block of m output x m input channels at one kernel position; ties go to the first mask, in the order of
    the rows read as text. Source: Hubara et al. 2021, section 3, who solve it as a flow or within a factor of two;
    for m up to 4 all masks can be tried.

    Args:
        score: (out, in, ...); of a grouped convolution the outputs of one group must divide by m as well.
        n: of every m.
        m: side of a block, at most ``LARGEST``.

    Raises:
        ValueError: the blocks are too large, the shape does not divide, or a score is not finite.
    """
    return keep_all({"": score}, n, m)[""]


def keep_all(scores: Mapping[str, Tensor], n: int, m: int) -> dict[str, Tensor]:
    """Return what ``keep`` gives for each layer, all blocks at once: small layers cost by the call.

    Raises:
        ValueError: as ``keep``.
    """
    if m > LARGEST:
        raise ValueError(f"transposable {n}:{m}: only blocks up to {LARGEST} x {LARGEST} are solved. Use 2:4 or 1:4.")
    for score in scores.values():
        if not fits(score.shape, m):
            raise ValueError(
                f"transposable {n}:{m} needs output and input channels that divide by {m}, but a weight has shape "
                f"{tuple(score.shape)}. Widen the encoder, or use the method that is not transposable."
            )
    if not scores:
        return {}
    tiles = {name: _tiles(score, m) for name, score in scores.items()}
    blocks = torch.cat([tile.reshape(-1, m * m) for tile in tiles.values()])
    check_finite(blocks)
    patterns = _patterns(n, m).to(blocks.device)
    # The first of equal sums; `argmax`, sums in rows, and sums that leave the caches take twice as long.
    best = torch.cat([(patterns @ part.double().T).max(0).indices for part in blocks.split(_AT_ONCE)])
    kept = patterns.bool()[best].split([tile.numel() // (m * m) for tile in tiles.values()])
    return {
        name: part.reshape(tile.shape).permute(0, 3, 1, 4, 2).reshape(scores[name].shape).contiguous()
        for (name, tile), part in zip(tiles.items(), kept, strict=True)
    }


def _tiles(score: Tensor, m: int) -> Tensor:
    """Return the blocks of a weight, (out / m, in / m, kernel positions, m, m)."""
    outputs, inputs = score.shape[:2]
    return score.detach().reshape(outputs // m, m, inputs // m, m, -1).permute(0, 2, 4, 1, 3)


@functools.cache
def _patterns(n: int, m: int) -> Tensor:
    """Return all masks of a block, (masks, m * m), float64: rows of n ones whose columns have n ones each."""
    rows = [tuple(float(place in chosen) for place in range(m)) for chosen in itertools.combinations(range(m), n)]
    found = [
        sum(block, ())
        for block in itertools.product(rows, repeat=m)
        if all(sum(column) == n for column in zip(*block, strict=True))
    ]
    return torch.tensor(found, dtype=torch.float64)
