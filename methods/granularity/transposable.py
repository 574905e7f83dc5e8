"""N:M along the input channels and along the output channels: what stays N:M when the weight is transposed."""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from methods.granularity.base import check_finite

LARGEST = 4  # of M: with 4 of 8, the rows below the fourth may have 38,165 needs, and each row has 70 choices
_AT_ONCE = 2**14  # blocks whose sums are held together: 15 MB for 2:4


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
    the rows read as text: every row, from the top, takes the first choice that can still lead to the highest sum. Sums
    are in double precision, of each row first and from the last row up, so that they do not hang on the device.
    Source: Hubara et al. 2021, section 3, who solve it as a flow or within a factor of two; ours is dynamic programming
    over the rows.

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
    choices, *stages = (part.to(blocks.device) for part in (choices_of(n, m), *stages_of(n, m)))
    best = torch.cat([_best(part.double(), choices, stages) for part in blocks.split(_AT_ONCE, 2)], 1)
    ones = ones_of(n, m).to(blocks.device)[best]  # (m outputs, blocks, m inputs)
    kept = ones.transpose(1, 2).split([tile.shape[2:].numel() for tile in tiles.values()], 2)
    return {
        name: _untiled(part.reshape(tiles[name].shape), score.shape)
        for (name, score), part in zip(scores.items(), kept, strict=True)
    }


def _best(blocks: Tensor, choices: Tensor, stages: Sequence[Tensor]) -> Tensor:
    """Return the choice of every row in the first mask with the highest sum of each block: (m, blocks).

    Args:
        blocks: (m outputs, m inputs, blocks).
        choices: as ``choices_of``.
        stages: as ``stages_of``.
    """
    m, _, count = blocks.shape
    sums = blocks[:, choices[:, 0]]  # (m, choices, blocks)
    for place in choices.T[1:]:
        sums = sums + blocks[:, place]
    rest = blocks.new_zeros(1, count)
    first: list[Tensor] = []  # the best choices of a row, (needs, blocks): the rows below it are solved
    for row in reversed(range(m)):
        totals = rest[stages[row]].add_(sums[row])  # (needs, choices, blocks)
        # Not `-inf` in `rest`: a sum may be infinite, and the two together are NaN.
        rest, chosen = totals.masked_fill_(stages[row][..., None] < 0, -math.inf).max(1)
        first.insert(0, chosen)
    need, best = torch.zeros(count, dtype=torch.long, device=blocks.device), []
    for row in range(m):
        best.append(first[row].gather(0, need[None])[0])
        need = stages[row][need, best[row]]
    return torch.stack(best)


def _tiles(score: Tensor, m: int) -> Tensor:
    """Return the blocks of a weight, (m outputs, m inputs, out / m, kernel positions x in / m)."""
    return score.detach().movedim(1, -1).reshape(len(score) // m, m, -1, m).permute(1, 3, 0, 2)


def _untiled(tiles: Tensor, shape: torch.Size) -> Tensor:
    """Return the weight, channels-last, that has these blocks."""
    return tiles.permute(2, 0, 3, 1).reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


@functools.cache
def choices_of(n: int, m: int) -> Tensor:
    """Return the choices of n of m places, (choices, n)."""
    return torch.tensor([*itertools.combinations(range(m), n)], device="cpu")


@functools.cache
def ones_of(n: int, m: int) -> Tensor:
    """Return the same choices as bool masks, (choices, m)."""
    choices = choices_of(n, m)
    return torch.zeros(len(choices), m, dtype=torch.bool, device="cpu").scatter_(1, choices, value=True)


@functools.cache
def stages_of(n: int, m: int) -> tuple[Tensor, ...]:
    """Return a table for each row of a block, (needs, choices): the need that a choice leaves to the next row.

    A need says of each column how many ones it still lacks. Those that are possible at a row are numbered, and the
    tables hold the numbers; -1 where a choice leaves none. A need is possible if no column lacks more ones than there
    are rows left (Gale and Ryser, 1957). Before the first row and behind the last one there is one: of n, and of 0.
    """
    stages, needs = [], [(n,) * m]
    for left in reversed(range(m)):
        lacks = [
            [tuple(lack - (place in choice) for place, lack in enumerate(need)) for choice in choices_of(n, m).tolist()]
            for need in needs
        ]
        possible = (lack for row in lacks for lack in row if min(lack) >= 0 and max(lack) <= left)
        numbers = {need: number for number, need in enumerate(dict.fromkeys(possible))}
        stages.append(torch.tensor([[numbers.get(lack, -1) for lack in row] for row in lacks], device="cpu"))
        needs = [*numbers]
    return tuple(stages)
