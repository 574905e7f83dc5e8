"""What a table's verdicts are worth: its false alarms, its power, and the shift it can see.

Computed, not simulated. Runs are taken as normal and independent, the estimated spread as the true one. A
cell's difference of means is then normal and independent of its pool's sd, whose square follows chi-squared;
the expectation over it is a mean over its quantiles.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from bench.judging.statistics import Comparison
from bench.judging.verdict import Judgement, Margin, Verdict, judge_together

_QUANTILES = 400  # mid-points; the probabilities are then exact to about 1e-4
WANTED_POWER = 0.80
_PLANTED_SDS = 3.0

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What the verdicts of a table are worth.

    Attributes:
        false_deviates: chance that some cell of an unmoved table is called DEVIATES.
        detectable_shifts: group of cells -> points called DEVIATES with a chance of 80 % in its least sensitive cell.
        reproduced: chance that an unmoved cell is called REPRODUCED, for the least likely cell.
        control_missed: the cells whose planted loss the judge would not call DEVIATES.
    """

    false_deviates: float
    detectable_shifts: Mapping[str, float]
    reproduced: float
    control_missed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Everything about a judged table but the differences it found.

    Attributes:
        comparisons: by cell; the differences are ignored.
        margins: by cell.
        alpha: level of each one-sided test.
        pools: by cell; cells with the same entry share one estimate of the spread.
    """

    comparisons: dict[str, Comparison]
    margins: dict[str, Margin]
    alpha: float
    pools: dict[str, str]

    def false_deviates(self) -> float:
        """Return the chance that at least one cell of an unmoved table is called DEVIATES.

        Holm's first step decides: some cell must lie beyond its margin with p below alpha over the number
        of cells, in either direction.
        """
        quiet: dict[str, Array] = {}
        for cell, pool in self.pools.items():  # given their common spread, the cells of a pool are independent
            quiet[pool] = quiet.get(pool, np.ones(_QUANTILES)) * (1.0 - self._deviates(cell, 0.0))
        return 1.0 - math.prod(float(chances.mean()) for chances in quiet.values())

    def detectable_shifts(self, group: Callable[[str], str]) -> dict[str, float]:
        """Return the smallest shift called DEVIATES with a chance of 80 %, in each group's least sensitive cell.

        One cell is moved, the others are not, so that Holm asks of it its hardest step.
        """
        shifts: dict[str, float] = {}
        for cell in self.comparisons:
            shifts[group(cell)] = max(shifts.get(group(cell), 0.0), self._detectable(cell))
        return shifts

    def power_reproduced(self) -> float:
        """Return the chance that an unmoved cell is called REPRODUCED, for the least likely cell."""
        return min(self._reproduced(cell) for cell in self.comparisons)

    def power(self, group: Callable[[str], str]) -> "Power":
        """Return all of it: computed once, shown by every report."""
        return Power(
            false_deviates=self.false_deviates(),
            detectable_shifts=self.detectable_shifts(group),
            reproduced=self.power_reproduced(),
            control_missed=self.control_missed(),
        )

    def control_missed(self) -> tuple[str, ...]:
        """Return the cells in which a planted loss is *not* called DEVIATES: the positive control.

        Cell by cell, the loss of the margin and 3 more sd is planted in the mean of the new runs while every
        other cell stays at its reference. (A loss of 3 sd alone could lie inside the margin, where DEVIATES
        would be wrong.)
        """
        return tuple(cell for cell in self.comparisons if self._judged_with_loss(cell).verdict is not Verdict.DEVIATES)

    def _judged_with_loss(self, planted: str) -> Judgement:
        comparisons = {
            cell: Comparison(
                difference=-self._planted_loss(cell) if cell == planted else 0.0,
                spread=item.spread,
                new_runs=item.new_runs,
                reference_runs=item.reference_runs,
            )
            for cell, item in self.comparisons.items()
        }
        return judge_together(comparisons, self.margins, alpha=self.alpha)[planted]

    def _planted_loss(self, cell: str) -> float:
        return self.margins[cell].delta_points + _PLANTED_SDS * self.comparisons[cell].spread.sd

    def _estimated_error(self, cell: str) -> Array:
        """Return quantiles, shape (_QUANTILES,), of the standard error a repetition would estimate."""
        item = self.comparisons[cell]
        floored = np.maximum(item.spread.sd * chi(item.spread.degrees, _QUANTILES), self.margins[cell].sd_floor_points)
        return floored * math.sqrt(1 / item.new_runs + 1 / item.reference_runs)

    def _deviates(self, cell: str, shift: float) -> Array:
        """Return the chance of DEVIATES, shape (_QUANTILES,), given each estimated error."""
        item = self.comparisons[cell]
        needed = -special.stdtrit(item.spread.degrees, self.alpha / len(self.comparisons))
        least = np.maximum(self.margins[cell].delta_points, needed * self._estimated_error(cell))
        return _normal_tail(least - shift, item.error) + _normal_tail(least + shift, item.error)

    def _detectable(self, cell: str) -> float:
        def excess(shift: float) -> float:
            return float(self._deviates(cell, shift).mean()) - WANTED_POWER

        high = 1.0
        while excess(high) < 0.0:
            high *= 2.0
        return float(optimize.brentq(excess, 0.0, high))

    def _reproduced(self, cell: str) -> float:
        item = self.comparisons[cell]
        half_width = -special.stdtrit(item.spread.degrees, self.alpha) * self._estimated_error(cell)
        room = np.maximum(self.margins[cell].delta_points - half_width, 0.0)
        return float((1.0 - 2.0 * _normal_tail(room, item.error)).mean())


@functools.cache
def chi(degrees: int, quantiles: int) -> Array:
    """Return as many mid-point quantiles of an estimated over the true standard deviation."""
    levels = (np.arange(quantiles) + 0.5) / quantiles
    return np.asarray(np.sqrt(stats.chi2.ppf(levels, degrees) / degrees))


def _normal_tail(distance: Array, error: float) -> Array:
    """Return the chance that a normal deviate of sd ``error`` (0: always 0) exceeds ``distance``."""
    if error == 0.0:
        return (distance < 0.0).astype(float)
    return np.asarray(special.ndtr(-distance / error))
