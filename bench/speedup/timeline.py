"""What is sparse along a run: a few moments, each with its share of the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from hardware.comparison import Row
from hardware.cost.cost import Cost
from hardware.cost.step import step
from hardware.machine import Machine
from hardware.network.workload import Workload
from hardware.sparsity.state import State

States = Mapping[str, State]
POINTS = 5  # of the schedule, from its start to its end: what a run keeps masks of


@dataclass(frozen=True, slots=True)
class Moment:
    """The states of both branches, the fraction of the run's steps that it stands for, and steps per mask update."""

    share: float
    online: States
    target: States
    period: int = 0  # no mask changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One row of the table, before any machine.

    Attributes:
        kind: what is sparse, e.g. ``block 16x16 d0.50``, or a cell's name.
        source: where the zeros come from: a run, or a draw.
        workload: network and step, without mask updates.
        regrows: a mask update needs the gradient of all weights.
        final: at the end; masks no longer change.
        moments: of the whole run; their shares add up to 1.
    """

    kind: str
    source: str
    workload: Workload
    regrows: bool
    final: Moment
    moments: tuple[Moment, ...]

    @property
    def branches(self) -> str:
        """``shared encoder``, ``EMA target``, or ``one branch`` of supervised training."""
        if self.workload.step.target_is_ema:
            return "EMA target"
        return "shared encoder" if self.workload.step.twin_passes else "one branch"

    def rows(self, machine: Machine) -> tuple[Row, Row]:
        """Return the step at the final masks and on average over the run, each beside the dense one."""
        dense = step(self.workload, machine, {}, {}).total
        last = step(self.workload, machine, self.final.online, self.final.target).total
        mean = Cost()
        for moment in self.moments:
            mean += step(self.updated(moment), machine, moment.online, moment.target).total.times(moment.share)
        return Row(dense, last), Row(dense, mean)

    def updated(self, moment: Moment) -> Workload:
        """Return the network with the mask updates of that time: there are none before and after the schedule."""
        spec = replace(
            self.workload.step,
            mask_update_period_steps=moment.period,
            regrowth_needs_dense_gradient=self.regrows and bool(moment.period),
        )
        return replace(self.workload, step=spec)


def shares(start: float, end: float) -> list[float]:
    """Return the shares of: before the schedule, each of its points, and after its end.

    Between two points the cost is taken to be linear (trapezoids); a cubic ramp hangs through, so that this errs on
    the expensive side.
    """
    width = (end - start) / (POINTS - 1)
    return [start, width / 2, *[width] * (POINTS - 2), width / 2, 1.0 - end]


def course_of(
    before: Moment,
    points: Sequence[Moment],
    final: Moment,
    start: float,
    end: float,
    periods: tuple[int, int, int] = (0, 0, 0),
) -> tuple[Moment, ...]:
    """Return the moments of a run, shares filled in.

    Args:
        before: the start of the schedule.
        points: of the schedule.
        final: after it.
        start: of the schedule, a fraction of the run.
        end: of the schedule.
        periods: steps per mask update before, during and after the schedule; 0: none.
    """
    moments = (before, *points, final)
    spread = (periods[0], *[periods[1]] * POINTS, periods[2])
    return tuple(
        replace(moment, share=share, period=period)
        for share, moment, period in zip(shares(start, end), moments, spread, strict=True)
        if share > 0.0
    )


def periods_of(steps: Sequence[int], total: int, start: float, end: float) -> tuple[int, int, int]:
    """Return the steps per mask update before, during and after a schedule, from the steps that updated; 0: none."""
    bounds = (0, round(start * total), round(end * total) + 1, total)
    found = []
    for first, stop in pairwise(bounds):
        updates = sum(first <= step < stop for step in steps)
        found.append(max(1, round((stop - first) / updates)) if updates else 0)
    return found[0], found[1], found[2]
