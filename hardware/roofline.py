"""A machine beside its own two roofs: what its multipliers and its memory allow, and what the model says it reaches."""

from collections.abc import Iterator
from dataclasses import dataclass

from hardware.checks import HardwareError
from hardware.cost.step import phase_cost
from hardware.machine import Machine
from hardware.network.workload import Workload
from hardware.sparsity.state import DENSE_STATE, Phase

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A dense phase of a layer under the roofs.

    Attributes:
        name: of layer and phase.
        intensity: multiply-accumulates per byte of DRAM.
        roof: multiply-accumulates per cycle that multipliers and bandwidth allow.
        reached: multiply-accumulates per cycle that the model says.
        is_memory_bound: whether the bandwidth is the lower roof.
    """

    name: str
    intensity: float
    roof: float
    reached: float
    is_memory_bound: bool

    @property
    def share(self) -> float:
        """Fraction of the roof that is reached."""
        return self.reached / self.roof


def points(network: Workload, machine: Machine) -> Iterator[Point]:
    """Yield every phase that computes something, for a batch of the workload.

    Raises:
        HardwareError: a phase beats its roof: then the machine's entries contradict each other, or the model is wrong.
    """
    peak = float(machine.array.peak_macs_per_cycle)
    for layer in network.layers:
        for phase in Phase:
            cost = phase_cost(layer, phase, machine, network.step.batch, DENSE_STATE)
            if not cost.macs:
                continue
            intensity = cost.macs / cost.dram_bytes
            by_memory = intensity * machine.dram_bytes_per_cycle
            point = Point(
                name=f"{layer.name} {phase.value}",
                intensity=intensity,
                roof=min(peak, by_memory),
                reached=cost.macs / cost.cycles,
                is_memory_bound=by_memory < peak,
            )
            if point.share > 1 + _ROUNDING:
                raise HardwareError(
                    f"{machine.name}: {point.name} reaches {point.reached:.3f} MACs per cycle, above its roof of "
                    f"{point.roof:.3f}. Look at array and memory of the machine; if they are right, the model is not."
                )
            yield point


def rows(found: list[Point]) -> list[list[str]]:
    """Return the table, its head first."""
    head = ["phase", "intensity [MACs/B]", "roof [MACs/cycle]", "reached [MACs/cycle]", "share [ratio]", "roof is"]
    return [head, *(_row(point) for point in found)]


def _row(point: Point) -> list[str]:
    return [
        point.name,
        f"{point.intensity:,.1f}",
        f"{point.roof:,.1f}",
        f"{point.reached:,.1f}",
        f"{point.share:.3f}",
        "memory" if point.is_memory_bound else "array",
    ]
