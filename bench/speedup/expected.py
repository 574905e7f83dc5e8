"""What claims about machines are judged by: the model's expectation over random masks, over a range of memories.

Single draws scatter by percents about it, more than some claims are about.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from bench.speedup.validation import FOLLOWING, SHARED, network
from hardware import comparison, presets
from hardware.cost.step import step

Expected = Mapping[str, Mapping[float, float]]  # BRANCHES/KIND/PRESET -> DRAM bytes per cycle -> speed-up of a step
BANDWIDTHS = (8.0, 16.0, 32.0, 64.0)  # from chip28nm's own to one at which memory seldom decides
BRANCHES = {"shared encoder": SHARED, "EMA target": FOLLOWING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Random masks of a density, on the machine that skips their zeros."""

    name: str
    preset: str
    density: float


KINDS = (
    Kind(name="dense", preset="chip28nm", density=1.0),
    Kind(name="block 16x16 d0.50", preset="chip28nm", density=0.5),
    Kind(name="block 16x16 d0.10", preset="chip28nm", density=0.1),
    Kind(name="element d0.50", preset="element_core", density=0.5),
)


def row_names() -> tuple[str, ...]:
    """Return what rows are called, BRANCHES/KIND/PRESET."""
    return tuple(f"{branches}/{kind.name}/{kind.preset}" for branches in BRANCHES for kind in KINDS)


@cache
def speed_ups() -> Expected:
    """Return every kind with every bandwidth, for both forms of the second branch; machines share the memory."""
    return {
        f"{branches}/{kind.name}/{kind.preset}": {
            bandwidth: _speed_up(name, kind, bandwidth) for bandwidth in BANDWIDTHS
        }
        for branches, name in BRANCHES.items()
        for kind in KINDS
    }


def _speed_up(name: str, kind: Kind, bandwidth: float) -> float:
    whole, machine = network(name), presets.machine(kind.preset, [f"memory.dram_bandwidth={bandwidth}"])
    states = comparison.uniform(whole, kind.density)
    return step(whole, machine, {}, {}).total.cycles / step(whole, machine, states, states).total.cycles
