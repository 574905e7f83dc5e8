"""N:M along the input channels and along the output channels: what stays N:M when the weight is transposed."""

import functools
import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

from methods.granularity.base import check_finite

LARGEST = 4  # of M: all masks of a block are tried, and of 8 x 8 with 2 a row there are 187 million
_AT_ONCE = 2**14  # blocks whose sums are held together: 12 MB for 2:4, three times


def fits(shape: torch.Size, m: int) -> bool:
    """Return whether a weight (out, in, ...) divides into blocks of m output x m input channels."""
    return len(shape) >= 2 and shape[0] % m == 0 and shape[1] % m == 0


def require_blocks(scores: Mapping[str, Tensor], n: int, m: int) -> None:
    """Refuse blocks that are too large, and weights that do not divide into blocks.

    Raises:
        ValueError: m is above ``LARGEST``, or a shape does not divide.
    """
    if m > LARGEST:
        raise ValueError(f"transposable {n}:{m}: only blocks up to {LARGEST} x {LARGEST} are solved. Use 2:4 or 1:4.")
    for score in scores.values():
        if not fits(score.shape, m):
            raise ValueError(
                f"transposable {n}:{m} needs output and input channels that divide by {m}, but a weight has shape "
                f"{tuple(score.shape)}. Widen the encoder, or use the method that is not transposable."
            )


def keep(score: Tensor, n: int, m: int) -> Tensor:
    """Return a bool mask with n of every m inputs, and n of every m outputs, of the highest possible sum of scores.

    Of every block of m output x m input channels at one kernel position; ties go to the first mask, in the order of
    the rows read as text. Sums are in double precision, of each row first, so that they do not hang on the device.
    Source: Hubara et al. 2021, section 3, who solve it as a flow or within a factor of two; for m up to 4 all masks
    can be tried.

    Args:
        score: (out, in, ...); of a grouped convolution the outputs of one group must divide by m as well.
        n: of every m.
        m: side of a block, at most ``LARGEST``.

    Raises:
        ValueError: as ``require_blocks``, or a score is not finite.
    """
    return keep_all({"": score}, n, m)[""].contiguous()


def keep_all(scores: Mapping[str, Tensor], n: int, m: int) -> dict[str, Tensor]:
    """Return what ``keep`` gives for each layer, channels-last, all blocks at once.

    Raises:
        ValueError: as ``keep``.
    """
    require_blocks(scores, n, m)
    if not scores:
        return {}
    tiles = {name: _tiles(score, m) for name, score in scores.items()}
    blocks = torch.cat([tile.reshape(m, m, -1) for tile in tiles.values()], 2)
    check_finite(blocks)
    choices, rows = (part.to(blocks.device) for part in patterns(n, m))
    best = torch.cat([_best(part.double(), choices, rows) for part in blocks.split(_AT_ONCE, 2)])
    kept_in_row = torch.zeros(len(choices), m, dtype=torch.bool, device=blocks.device).scatter_(1, choices, value=True)
    ones = kept_in_row[rows]  # (masks, m, m)
    kept = ones[best].permute(1, 2, 0).split([tile.shape[2:].numel() for tile in tiles.values()], 2)
    return {
        name: _untiled(part.reshape(tiles[name].shape), score.shape)
        for (name, score), part in zip(scores.items(), kept, strict=True)
    }


def _best(blocks: Tensor, choices: Tensor, rows: Tensor) -> Tensor:
    """Return the first mask with the highest sum of each block (m outputs, m inputs, blocks)."""
    sums = blocks[:, choices[:, 0]]  # (m, choices, blocks)
    for place in choices.T[1:]:
        sums = sums + blocks[:, place]
    totals = sums[0, rows[:, 0]]
    for row in range(1, len(blocks)):
        totals = totals + sums[row, rows[:, row]]
    return totals.max(0).indices


def _tiles(score: Tensor, m: int) -> Tensor:
    """Return the blocks of a weight, (m outputs, m inputs, out / m, kernel positions x in / m)."""
    return score.detach().movedim(1, -1).reshape(len(score) // m, m, -1, m).permute(1, 3, 0, 2)


def _untiled(tiles: Tensor, shape: torch.Size) -> Tensor:
    """Return the weight, channels-last, that has these blocks."""
    return tiles.permute(2, 0, 3, 1).reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


@functools.cache
def patterns(n: int, m: int) -> tuple[Tensor, Tensor]:
    """Return the choices of n of m places, (choices, n), and all masks of a block, (masks, m): a choice for each row.

    Every column of a mask has n ones, too.
    """
    choices = list(itertools.combinations(range(m), n))
    found = [
        rows
        for rows in itertools.product(range(len(choices)), repeat=m)
        if all(sum(place in choices[row] for row in rows) == n for place in range(m))
    ]
    return torch.tensor(choices, device="cpu"), torch.tensor(found, device="cpu")
