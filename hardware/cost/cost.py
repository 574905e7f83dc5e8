"""What anything costs: the columns of every table."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """What a part of a step costs. Costs add up.

    Attributes:
        macs: dense multiply-accumulates.
        effective_macs: those that the algorithm needs.
        cycles: with stalls.
        stall_cycles: waiting for memory.
        dram_bytes: read and written.
        joules: energy.
    """

    macs: float = 0.0
    effective_macs: float = 0.0
    cycles: float = 0.0
    stall_cycles: float = 0.0
    dram_bytes: float = 0.0
    joules: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.macs + other.macs,
            self.effective_macs + other.effective_macs,
            self.cycles + other.cycles,
            self.stall_cycles + other.stall_cycles,
            self.dram_bytes + other.dram_bytes,
            self.joules + other.joules,
        )

    def times(self, factor: float) -> "Cost":
        """Return the cost of ``factor`` such parts."""
        return Cost(
            self.macs * factor,
            self.effective_macs * factor,
            self.cycles * factor,
            self.stall_cycles * factor,
            self.dram_bytes * factor,
            self.joules * factor,
        )
