"""A sparse step beside the dense one on the same machine: the rows of every table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hardware.cost.cost import Cost
from hardware.cost.step import States, Step, step
from hardware.machine import Machine
from hardware.network.layer import LayerSpec, Part
from hardware.network.workload import Workload
from hardware.sparsity.state import State
from hardware.sparsity.weights import Density


@dataclass(frozen=True, slots=True)
class Row:
    """One part of a step, dense and sparse. Ratios of nothing to nothing are 1."""

    dense: Cost
    sparse: Cost

    @property
    def speed_up(self) -> float:
        """Dense over sparse cycles."""
        return _ratio(self.dense.cycles, self.sparse.cycles)

    @property
    def macs_reduction(self) -> float:
        """Dense multiply-accumulates over those that the algorithm needs."""
        return _ratio(self.dense.macs, self.sparse.effective_macs)

    @property
    def conversion(self) -> float:
        """How much of the reduction became speed."""
        return _ratio(self.speed_up, self.macs_reduction)

    @property
    def stall_share(self) -> float:
        """Fraction of the sparse cycles that wait for memory."""
        return self.sparse.stall_cycles / self.sparse.cycles if self.sparse.cycles else 0.0


def rows(workload: Workload, machine: Machine, online: States, target: States) -> dict[str, Row]:
    """Return each part of a step by name, and their sum as ``step``."""
    return beside(step(workload, machine, {}, {}), step(workload, machine, online, target))


def beside(dense: Step, sparse: Step) -> dict[str, Row]:
    """Return the parts of two steps by name, and their sum as ``step``."""
    parts = {name: Row(cost, sparse.parts[name]) for name, cost in dense.parts.items()}
    return parts | {"step": Row(dense.total, sparse.total)}


def average(steps: Sequence[Step]) -> Step:
    """Return the mean step, for example over the points of a schedule: the cost of a run per step."""
    share = 1.0 / len(steps)
    return Step({name: sum((item.parts[name] for item in steps), Cost()).times(share) for name in steps[0].parts})


def uniform(workload: Workload, density: float, *, filters: bool = False) -> dict[str, State]:
    """Return the same density for every prunable layer: of the encoder, and not reading the image.

    Args:
        workload: network.
        density: fraction of weights kept.
        filters: whole output channels go instead of weights.
    """
    kept = Density(1.0, outputs=density) if filters else Density(density)
    return {layer.name: State(kept) for layer in workload.layers if is_prunable(layer)} if density < 1.0 else {}


def is_prunable(layer: LayerSpec) -> bool:
    """Tell whether masks reach a layer; the stem and the heads stay dense."""
    return layer.part is Part.ENCODER and not layer.is_first


def as_numbers(table: Mapping[str, Row]) -> dict[str, dict[str, float | None]]:
    """Return a table as plain numbers, units in the names; a ratio of something to nothing is null."""
    return {
        name: {
            "dense_cycles": row.dense.cycles,
            "cycles": row.sparse.cycles,
            "speed_up": _finite(row.speed_up),
            "macs": row.dense.macs,
            "effective_macs": row.sparse.effective_macs,
            "macs_reduction": _finite(row.macs_reduction),
            "conversion": _finite(row.conversion),
            "stall_share": row.stall_share,
            "dram_bytes": row.sparse.dram_bytes,
            "dense_joules": row.dense.joules,
            "joules": row.sparse.joules,
        }
        for name, row in table.items()
    }


def _finite(ratio: float) -> float | None:
    return ratio if math.isfinite(ratio) else None


def _ratio(above: float, below: float) -> float:
    if below == 0.0:
        return 1.0 if above == 0.0 else float("inf")
    return above / below
