"""Spread, difference, Holm's steps and how many runs would settle a question: numbers in, numbers out."""

import bisect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special, stats

MOST_SEEDS = 1000  # a table that needs more seeds than this is not settled by seeds


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

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the two-sided interval of the true difference by Student's t."""
        half = float(special.stdtrit(self.spread.degrees, (1.0 + level) / 2.0)) * self.error
        return self.difference - half, self.difference + half

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
        raise ValueError(f"A comparison needs runs on both sides; found {len(new)} new, {len(reference)} references.")
    if not all(map(math.isfinite, (*new, *reference))):
        raise ValueError(f"Only finite numbers can be compared; found {[*new]} and {[*reference]}.")
    difference = math.fsum(new) / len(new) - math.fsum(reference) / len(reference)
    return Comparison(difference=difference, spread=spread, new_runs=len(new), reference_runs=len(reference))


def fewest_runs(is_enough: Callable[[int], bool], present: int) -> int | None:
    """Return the smallest number above ``present`` that is enough, by bisection; None if MOST_SEEDS are not."""
    runs = bisect.bisect_left(range(MOST_SEEDS + 1), True, lo=present + 1, key=is_enough)
    return runs if runs <= MOST_SEEDS else None
