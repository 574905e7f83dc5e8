"""A row beside the dense and the untrained row of its framework: what everybody wants to know of it.

No verdict rests on these: they say what sparsity cost, and whether a row learnt anything at all.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scipy import special

from bench.config.cell import framework_of, parse_cell
from bench.config.run import UNTRAINED
from bench.judging.statistics import Comparison, Spread, compare, pooled_spread

Values = Mapping[int, float]  # seed -> percent
DENSE = "dense"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """What a row gains over another one.

    Attributes:
        base: the other row.
        comparison: the row minus its base, in percentage points.
        is_paired: made of the seeds that both have; of all runs where they share none.
    """

    base: str
    comparison: Comparison
    is_paired: bool


def spreads(groups: Mapping[str, Iterable[Sequence[float]]]) -> dict[str, Spread]:
    """Return framework -> spread from seed to seed within its cells, where anything is known about it."""
    gathered: defaultdict[str, list[Sequence[float]]] = defaultdict(list)
    for cell, samples in groups.items():
        gathered[framework_of(cell)] += [sample for sample in samples if sample]
    return {
        framework: pooled_spread(samples)
        for framework, samples in gathered.items()
        if any(len(sample) > 1 for sample in samples)
    }


def contrast(cell: str, base: str, values: Mapping[str, Values], spread: Spread | None) -> Contrast | None:
    """Compare two cells; None where a side has no run, or nothing is known about the spread.

    The difference is taken over the seeds that both have. Its error is that of independent runs: runs of one seed
    share images and views, but within our references pairing gains between nothing and a quarter of the error, so that
    the interval errs to the wide side.
    """
    left, right = values.get(cell, {}), values.get(base, {})
    if not left or not right or spread is None:
        return None
    shared = sorted(left.keys() & right.keys())
    first, second = ([side[seed] for seed in shared or side] for side in (left, right))
    return Contrast(base=base, comparison=compare(first, second, spread), is_paired=bool(shared))


def half_width(runs: int, spread: Spread | None) -> float | None:
    """Return half the 95 % interval of a mean of so many runs; None without runs or spread."""
    if not runs or spread is None:
        return None
    return float(special.stdtrit(spread.degrees, 0.975)) * spread.sd / math.sqrt(runs)


def base_of(cell: str, method: str, cells: Iterable[str]) -> str | None:
    """Return the row of a method without sparsity in the cell's framework; None where there is none.

    Where a framework has no untrained row, that of another one serves: the encoder, which took no step, is the same.
    """
    found = [name for name in cells if parse_cell(name).method == method]
    own = [name for name in found if framework_of(name) == framework_of(cell)]
    return next(iter(own or (found if method == UNTRAINED else [])), None)
