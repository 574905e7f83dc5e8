"""What counts as the same number: equivalence, deviation, and the honest third answer.

One cell is judged by two questions that cannot both be answered with yes. Is the difference surely inside
the margin (two one-sided tests: Schuirmann 1987)? Is it outside the margin and surely not zero? Everything
else is INCONCLUSIVE. The rule is ours, after MLPerf's reference convergence points, with non-rejection never
taken as proof.
"""

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.judging.statistics import MOST_SEEDS, Comparison, Spread, compare, fewest_runs, holm, pooled_spread

MINIMUM_REFERENCES = 3  # below, the spread of the references is a guess


class Verdict(enum.Enum):
    """The answer for one cell or one claim. The last four always carry a reason."""

    REPRODUCED = "REPRODUCED"
    DEVIATES = "DEVIATES"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_REFERENCE = "NO_REFERENCE"
    NOT_JUDGED = "NOT_JUDGED"
    FAILED = "FAILED"
    NOT_RUN = "NOT_RUN"

    @property
    def is_judged(self) -> bool:
        """True where a comparison took place."""
        return self in {Verdict.REPRODUCED, Verdict.DEVIATES, Verdict.INCONCLUSIVE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict and why. Only REPRODUCED explains itself."""

    verdict: Verdict
    reason: str = ""

    def __post_init__(self) -> None:
        if self.verdict is not Verdict.REPRODUCED and not self.reason:
            raise ValueError(f"A verdict of {self.verdict.value} needs a reason.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """What counts as the same.

    Attributes:
        delta_points: differences of means below this many percentage points are "the same".
        sd_floor_points: no spread is taken to be smaller; guards against a few lucky runs.
    """

    delta_points: float
    sd_floor_points: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.delta_points) and self.delta_points > 0.0):
            raise ValueError(f"delta_points is {self.delta_points}; it must be positive and finite.")
        if not (math.isfinite(self.sd_floor_points) and self.sd_floor_points >= 0.0):
            raise ValueError(f"sd_floor_points is {self.sd_floor_points}; it must be at least 0 and finite.")


def judge(
    new: Sequence[float],
    reference: Sequence[float],
    margin: Margin,
    *,
    alpha: float = 0.05,
    spread: Spread | None = None,
) -> Judgement:
    """Judge one cell alone, all numbers in percentage points.

    Args:
        new: the fresh runs; one is enough, the spread then comes from elsewhere.
        reference: our own earlier runs.
        margin: what counts as the same.
        alpha: level of each one-sided test.
        spread: from seed to seed; by default both sides pooled.
    """
    if len(reference) < MINIMUM_REFERENCES:
        return no_reference(len(reference), "TABLE")
    within = (spread or pooled_spread([new, reference])).floored(margin.sd_floor_points)
    return judge_together({"": compare(new, reference, within)}, {"": margin}, alpha=alpha)[""]


def no_reference(found: int, table: str) -> Judgement:
    """Return the judgement of a cell with ``found`` references, fewer than needed, of a table by its arguments."""
    reason = f"{found} references, {MINIMUM_REFERENCES} needed: `nox -s record -- {table}` makes them."
    return Judgement(verdict=Verdict.NO_REFERENCE, reason=reason)


def judge_together(
    comparisons: Mapping[str, Comparison], margins: Mapping[str, Margin], *, alpha: float
) -> dict[str, Judgement]:
    """Judge the cells of a table; DEVIATES is corrected by Holm over all of them, REPRODUCED is not.

    (A table of m cells that all lie at the margin shows alpha m false REPRODUCED on average; each is a
    statement about its own cell. A false DEVIATES turns the whole table red, hence the correction.)

    Holm bounds the chance of a false DEVIATES in each direction by alpha; ``bench.judging.power`` computes the
    chance over both, which the second condition, a difference beyond the margin, usually makes far smaller.
    """
    corrected = holm([item.deviation_p(margins[cell].delta_points) for cell, item in comparisons.items()])
    return {
        cell: _verdict(item, margins[cell].delta_points, alpha, deviation, len(comparisons))
        for (cell, item), deviation in zip(comparisons.items(), corrected, strict=True)
    }


def _verdict(comparison: Comparison, delta: float, alpha: float, deviation_p: float, cells: int) -> Judgement:
    if comparison.equivalence_p(delta) < alpha:
        return Judgement(verdict=Verdict.REPRODUCED)
    found = f"{comparison.difference:+.2f} points against a margin of {delta:.2f}"
    if deviation_p < alpha:
        return Judgement(verdict=Verdict.DEVIATES, reason=f"{found}, p = {deviation_p:.2g} after Holm.")
    return Judgement(verdict=Verdict.INCONCLUSIVE, reason=f"{found}; {_way_out(comparison, delta, alpha, cells)}")


def _way_out(comparison: Comparison, delta: float, alpha: float, cells: int) -> str:
    """Say how many seeds would settle the cell if its difference stayed as it is.

    DEVIATES is asked for at Holm's first and hardest step, alpha over the number of cells.
    """

    def is_settled(candidate: Comparison) -> bool:
        return candidate.equivalence_p(delta) < alpha or candidate.deviation_p(delta) < alpha / cells

    references = comparison.reference_runs
    runs = fewest_runs(lambda n: is_settled(comparison.with_runs(n, references)), comparison.new_runs)
    if runs is not None:
        return f"n = {runs} new runs would settle it at this difference."
    runs = fewest_runs(lambda n: is_settled(comparison.with_runs(n, n)), max(comparison.new_runs, references))
    if runs is not None:
        return f"n = {runs} new runs and as many references would settle it at this difference."
    return f"not even {MOST_SEEDS} runs would settle it at this difference."
