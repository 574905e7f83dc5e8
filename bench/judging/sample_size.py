"""How many seeds the claims of a table shall have: by precision, never by what was found.

Seeds are added in blocks of ``BLOCK`` over all cells of a primary claim until the ``LEVEL`` interval of every
difference that it rests on is at most ``HALF_WIDTH_POINTS`` to either side: at least ``LEAST``, at most ``MOST``
seeds. Only the widths are looked at. Claims that are not primary get the same seeds where they share cells, and
``LEAST`` elsewhere. Fixed before the runs (``results/judging.md``).
"""

from collections.abc import Sequence

from bench.judging.claim_judge import JudgedClaim, Pair

BLOCK = 4
LEAST = 8
MOST = 24
HALF_WIDTH_POINTS = 0.5
LEVEL = 0.90


def half_width(pairs: Sequence[Pair]) -> float | None:
    """Return half the widest interval of the pairs' differences, in percentage points; None without a pair."""
    intervals = [pair.comparison.interval(LEVEL) for pair in pairs]
    return max(((high - low) / 2 for low, high in intervals), default=None)


def wanted(judged: JudgedClaim, seeds: int) -> int:
    """Return how many seeds the cells of a claim shall have: as many as they have, where these are enough.

    Args:
        judged: the claim with the pairs that could be compared.
        seeds: that all cells of the claim have.
    """
    if seeds < LEAST:
        return LEAST
    widest = half_width(judged.pairs)
    is_precise = widest is None or widest <= HALF_WIDTH_POINTS
    if is_precise or seeds >= MOST or not judged.claim.is_primary:
        return seeds
    return min(MOST, (seeds // BLOCK + 1) * BLOCK)
