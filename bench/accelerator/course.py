"""What is sparse along a run: a few moments, each with its share of the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hardware import comparison
from hardware.accelerator import Machine
from hardware.comparison import Row
from hardware.cost import State
from hardware.gates import GateRate
from hardware.ledger import Cost
from hardware.step import step
from hardware.workload import Workload

States = Mapping[str, State]
POINTS = 5  # of the schedule, from its start to its end: what a run keeps masks of


@dataclass(frozen=True, slots=True)
class Moment:
    """The states of both branches, and the fraction of the run's steps that it stands for."""

    share: float
    online: States
    target: States


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One row of the table, before any machine.

    Attributes:
        kind: what is sparse, e.g. ``block 16x16 d0.50``, or a cell's name.
        source: where the zeros come from: a run, or a draw.
        workload: network and step, mask updates included.
        final: at the end; masks no longer change.
        moments: of the whole run; their shares add up to 1.
    """

    kind: str
    source: str
    workload: Workload
    final: Moment
    moments: tuple[Moment, ...]

    @property
    def branches(self) -> str:
        """``shared encoder`` or ``EMA target``."""
        return "EMA target" if self.workload.step.target_is_ema else "shared encoder"

    def rows(self, machine: Machine) -> tuple[Row, Row]:
        """Return the step at the final masks and on average over the run, each beside the dense one."""
        settled = comparison.without_updates(self.workload)
        dense = step(settled, machine, {}, {}).total
        last = step(settled, machine, self.final.online, self.final.target).total
        mean = Cost()
        for moment in self.moments:
            mean += step(self.workload, machine, moment.online, moment.target).total.times(moment.share)
        return Row(dense, last), Row(dense, mean)


def shares(start: float, end: float) -> list[float]:
    """Return the shares of: before the schedule, each of its points, and after its end.

    Between two points the cost is taken to be linear (trapezoids); a cubic ramp hangs through, so that this errs on
    the expensive side.
    """
    width = (end - start) / (POINTS - 1)
    return [start, width / 2, *[width] * (POINTS - 2), width / 2, 1.0 - end]


def course_of(before: Moment, points: Sequence[Moment], final: Moment, start: float, end: float) -> tuple[Moment, ...]:
    """Return the moments of a run, shares filled in."""
    moments = (before, *points, final)
    return tuple(
        Moment(share, moment.online, moment.target)
        for share, moment in zip(shares(start, end), moments, strict=True)
        if share > 0.0
    )


def gated(rates: Mapping[str, float], base: float) -> States:
    """Return states of gated layers.

    Args:
        rates: layer -> fraction of its gates that are open.
        base: fraction of the input channels that counts whatever the gate says.
    """
    return {name: State(gate=GateRate(rate, base)) for name, rate in rates.items()}
