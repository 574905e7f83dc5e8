"""How dense a network is along training, so that the average over a run differs from its last step."""

from dataclasses import dataclass

from hardware.checks import HardwareError, fraction


@dataclass(frozen=True, slots=True)
class CubicRamp:
    """Density falls from ``initial`` to ``final`` as (1 - t)^3 between two fractions of the run.

    Source: Zhu & Gupta 2017; ``start`` and ``end`` of the published N:M script: 0.30 and 0.68 (README.md, section 9).
    """

    initial: float
    final: float
    start: float
    end: float

    def __post_init__(self) -> None:
        fraction(initial=self.initial, final=self.final, start=self.start, end=self.end)
        if self.start > self.end:
            raise HardwareError(f"start {self.start} exceeds end {self.end}. Swap them.")

    def density(self, time: float) -> float:
        """Return the density at a fraction of the run."""
        if time < self.start:
            return self.initial
        if time >= self.end:
            return self.final
        left = 1.0 - (time - self.start) / (self.end - self.start)
        return self.final + (self.initial - self.final) * left**3

    def samples(self, points: int) -> list[float]:
        """Return the density in the middle of each of ``points`` equal parts of the run."""
        return [self.density((index + 0.5) / points) for index in range(points)]
