"""What counts as the same number: equivalence, deviation, and the honest third answer.

One cell is judged by two questions that cannot both be answered with yes. Is the difference surely inside
the margin (two one-sided tests: Schuirmann 1987)? Is it outside the margin and surely not zero? Everything
else is INCONCLUSIVE. The rule is ours, after MLPerf's reference convergence points, with non-rejection never
taken as proof.
"""

import bisect
import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special, stats

MINIMUM_REFERENCES = 3  # below, the spread of the stored runs is a guess
MOST_SEEDS = 1000  # a table that needs more seeds than this is not settled by seeds


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


@dataclass(frozen=True, slots=True)
class Spread:
    """A standard deviation from seed to seed, in percentage points, and its degrees of freedom."""

    sd: float
    degrees: int

    def floored(self, floor: float) -> "Spread":
        """Return the spread, its sd raised to ``floor`` where it is smaller."""
        return replace(self, sd=max(self.sd, floor))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A difference of two means and what is known about its error.

    Attributes:
        difference: mean of the new runs minus mean of the references, in percentage points.
        spread: of one run around its cell's mean.
        new_runs: how many.
        reference_runs: how many.
    """

    difference: float
    spread: Spread
    new_runs: int
    reference_runs: int

    @property
    def error(self) -> float:
        """The standard error of the difference."""
        return self.spread.sd * math.sqrt(1 / self.new_runs + 1 / self.reference_runs)

    def exceeds_p(self, threshold: float) -> float:
        """Return the one-sided p-value of "the true difference is at most ``threshold``"."""
        distance = self.difference - threshold
        if self.error == 0.0:
            return 0.0 if distance > 0.0 else 1.0
        return float(special.stdtr(self.spread.degrees, -distance / self.error))

    def falls_short_p(self, threshold: float) -> float:
        """Return the one-sided p-value of "the true difference is at least ``threshold``"."""
        return replace(self, difference=-self.difference).exceeds_p(-threshold)

    def equivalence_p(self, delta: float) -> float:
        """Return the larger p-value of the two one-sided tests against ``-delta`` and ``+delta``."""
        return max(self.exceeds_p(-delta), self.falls_short_p(delta))

    def deviation_p(self, delta: float) -> float:
        """Return the one-sided p-value of "no difference" in the observed direction; 1 inside the margin.

        Raising p-values keeps a test valid, so Holm's correction may follow.
        """
        if abs(self.difference) <= delta:
            return 1.0
        return replace(self, difference=abs(self.difference)).exceeds_p(0.0)

    def with_runs(self, new_runs: int, reference_runs: int) -> "Comparison":
        """Return the same difference as so many runs would know it."""
        gained = new_runs + reference_runs - self.new_runs - self.reference_runs
        spread = replace(self.spread, degrees=self.spread.degrees + gained)
        return replace(self, spread=spread, new_runs=new_runs, reference_runs=reference_runs)


def squares(values: Sequence[float]) -> float:
    """Return the sum of squares about the values' own mean."""
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values)


def pooled_spread(groups: Iterable[Sequence[float]]) -> Spread:
    """Return the standard deviation within groups: squares about each group's own mean over ``n - 1`` each.

    Raises:
        ValueError: no group has two values, so that nothing is known about the spread.
    """
    filled = [group for group in groups if group]
    degrees = sum(len(group) - 1 for group in filled)
    if degrees < 1:
        raise ValueError("No cell has two runs: nothing is known about the spread from seed to seed.")
    return Spread(math.sqrt(math.fsum(map(squares, filled)) / degrees), degrees)


def brown_forsythe_p(groups: Sequence[Sequence[float]]) -> float:
    """Return the p-value of "all groups spread alike" (Brown and Forsythe 1974).

    An analysis of variance of the distances to the groups' medians. Written out because scipy's ``levene``
    warns where groups are constant, which short runs may well be.
    """
    distances = [np.abs(np.asarray(group, dtype=float) - np.median(group)) for group in groups]
    total = sum(len(group) for group in distances)
    if len(distances) < 2 or total <= len(distances):
        return 1.0
    grand = float(np.concatenate(distances).mean())
    between = math.fsum(len(group) * (float(group.mean()) - grand) ** 2 for group in distances)
    within = math.fsum(float(((group - group.mean()) ** 2).sum()) for group in distances)
    if within == 0.0:
        return 0.0 if between > 0.0 else 1.0
    ratio = (between / (len(distances) - 1)) / (within / (total - len(distances)))
    return float(stats.f.sf(ratio, len(distances) - 1, total - len(distances)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for being many (Holm 1979, step down)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = largest
    return corrected


def compare(new: Sequence[float], reference: Sequence[float], spread: Spread) -> Comparison:
    """Return how the new runs of a cell differ from its references.

    Raises:
        ValueError: a side is empty or holds a number that is not finite.
    """
    if not new or not reference:
        raise ValueError(f"A comparison needs runs on both sides; found {len(new)} new, {len(reference)} stored.")
    if not all(map(math.isfinite, (*new, *reference))):
        raise ValueError(f"Only finite numbers can be compared; found {[*new]} and {[*reference]}.")
    difference = math.fsum(new) / len(new) - math.fsum(reference) / len(reference)
    return Comparison(difference=difference, spread=spread, new_runs=len(new), reference_runs=len(reference))


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
        reference: the stored runs.
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
    reason = f"{found} stored runs, {MINIMUM_REFERENCES} needed: `nox -s record -- {table}` makes them."
    return Judgement(verdict=Verdict.NO_REFERENCE, reason=reason)


def judge_together(
    comparisons: Mapping[str, Comparison], margins: Mapping[str, Margin], *, alpha: float
) -> dict[str, Judgement]:
    """Judge the cells of a table; DEVIATES is corrected by Holm over all of them, REPRODUCED is not.

    (A table of m cells that all lie at the margin shows alpha m false REPRODUCED on average; each is a
    statement about its own cell. A false DEVIATES turns the whole table red, hence the correction.)

    Holm bounds the chance of a false DEVIATES in each direction by alpha; ``bench.judging.judge.power`` computes the
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

    stored = comparison.reference_runs
    runs = fewest_runs(lambda n: is_settled(comparison.with_runs(n, stored)), comparison.new_runs)
    if runs is not None:
        return f"n = {runs} new runs would settle it at this difference."
    runs = fewest_runs(lambda n: is_settled(comparison.with_runs(n, n)), max(comparison.new_runs, stored))
    if runs is not None:
        return f"n = {runs} new runs and as many references would settle it at this difference."
    return f"not even {MOST_SEEDS} runs would settle it at this difference."


def fewest_runs(is_enough: Callable[[int], bool], present: int) -> int | None:
    """Return the smallest number above ``present`` that is enough, by bisection; None if MOST_SEEDS are not."""
    runs = bisect.bisect_left(range(MOST_SEEDS + 1), True, lo=present + 1, key=is_enough)
    return runs if runs <= MOST_SEEDS else None
