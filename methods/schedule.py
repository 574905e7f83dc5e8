"""When masks change, and which value holds at a step. Steps are optimizer steps, counted from 0."""

import abc
import math
from dataclasses import dataclass
from typing import Self


def window(
    total_steps: int, start_fraction: float, end_fraction: float, period_fraction: float
) -> tuple[int, int, int]:
    """Return ``(start_step, end_step, every)`` of a run: fractions of its steps, rounded down.

    ``every`` is at least 1.

    Raises:
        ValueError: if the fractions are not ``0 <= start <= end < 1`` and ``0 < period <= 1``, or there is
            no step.
    """
    if not 0.0 <= start_fraction <= end_fraction < 1.0 or not 0.0 < period_fraction <= 1.0 or total_steps < 1:
        raise ValueError(
            f"no update window from {start_fraction} to {end_fraction} with period {period_fraction} in "
            f"{total_steps} steps: use 0 <= start <= end < 1, 0 < period <= 1 and at least one step."
        )
    start, end, every = (
        # 0.29 * 100 is a little less than 29 in floating point.
        math.floor(fraction * total_steps + 1e-6)
        for fraction in (start_fraction, end_fraction, period_fraction)
    )
    return start, end, max(1, every)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule(abc.ABC):
    """A value over optimizer steps, and the steps at which it is used.

    Attributes:
        start_step: first due step.
        end_step: last due step, always due; may equal ``start_step`` (one shot).
        every: distance of two due steps; the last one may be longer, so that no update comes right before the last.
    """

    start_step: int
    end_step: int
    every: int

    def __post_init__(self) -> None:
        if not 0 <= self.start_step <= self.end_step or self.every < 1:
            raise ValueError(f"{self}: it must hold that 0 <= start_step <= end_step and every >= 1.")
        self._check()

    def _check(self) -> None:  # noqa: B027
        """Check what this kind of schedule alone asks of its values."""

    def is_due(self, step: int) -> bool:
        """Return whether masks are updated at ``step``."""
        if not self.start_step <= step <= self.end_step - self.every:
            return step == self.end_step
        return (step - self.start_step) % self.every == 0

    @property
    def due_steps(self) -> tuple[int, ...]:
        """All due steps: ``floor((end_step - start_step) / every) + 1`` in number."""
        return (*range(self.start_step, self.end_step - self.every + 1, self.every), self.end_step)

    @abc.abstractmethod
    def value(self, step: int) -> float:
        """Return the value at ``step``; clamped outside the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(Schedule):
    """The same value at every step."""

    level: float

    def value(self, step: int) -> float:  # noqa: ARG002
        """Return ``level``."""
        return self.level


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp(Schedule):
    """A value that goes from ``initial`` at ``start_step`` to exactly ``final`` at ``end_step``."""

    initial: float
    final: float

    @classmethod
    def over(
        cls,
        total_steps: int,
        start_fraction: float,
        end_fraction: float,
        period_fraction: float,
        *,
        initial: float,
        final: float,
    ) -> Self:
        """Return the schedule of a run of ``total_steps`` steps; see ``window``."""
        start, end, every = window(total_steps, start_fraction, end_fraction, period_fraction)
        return cls(start_step=start, end_step=end, every=every, initial=initial, final=final)

    def value(self, step: int) -> float:
        """Return the value at ``step``, exact at both ends."""
        if step >= self.end_step:
            return self.final
        if step <= self.start_step:
            return self.initial
        progress = (step - self.start_step) / (self.end_step - self.start_step)
        return self.final + (self.initial - self.final) * self._left(progress)

    @abc.abstractmethod
    def _left(self, progress: float) -> float:
        """Return how much of the way is left, falling from 1 to 0 as ``progress`` goes from 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cubic(Ramp):
    """``final + (initial - final) (1 - progress)^3``: fast at first, exactly ``final`` at the last due step.

    Source: Zhu & Gupta 2017, equation 1. Published variants quantise the step or stop one update early and
    then miss the final value.
    """

    def _left(self, progress: float) -> float:
        return (1.0 - progress) ** 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CosineFraction(Ramp):
    """Half a cosine from ``initial`` to ``final``: which fraction of its weights a layer exchanges.

    Source: Dettmers & Zettlemoyer 2019 (death rate), as in GraNet (Liu et al. 2021) and SyncCP: from 0.5 to
    0.005. They stretch it over the whole run; here it ends with the window, because no mask may change
    after it.

    Raises:
        ValueError: unless ``0 <= final <= initial <= 1``.
    """

    def _check(self) -> None:
        if not 0.0 <= self.final <= self.initial <= 1.0:
            raise ValueError(f"{self}: a fraction falls from initial to final, both in [0, 1].")

    def _left(self, progress: float) -> float:
        return (1.0 + math.cos(math.pi * progress)) / 2.0
