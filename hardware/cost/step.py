"""One training step: phases of all layers, both branches, optimizer, average, mask update (README.md, section 7).

Parts add up, nothing hides behind anything else:

    step = online FP x passes + BP x passes + WU x passes           (passes of a tied twin with its own masks)
         + target FP x passes + loss + batch norm + optimizer + moving average + mask updates / period

A step in which the gradient of all weights is needed is charged at its share of the steps. Not modelled: activation
functions, pooling, residual sums, biases, and the sorting within a mask update.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hardware.checks import HardwareError
from hardware.cost import memory, overhead
from hardware.cost.compute import compute, living_part, needed_macs
from hardware.cost.cost import Cost
from hardware.cost.energy import joules
from hardware.machine import Machine
from hardware.network.layer import LayerSpec
from hardware.network.workload import Workload
from hardware.sparsity.state import DENSE_STATE, Phase, State
from hardware.sparsity.weights import DENSE

States = Mapping[str, State]  # layer -> what is sparse in it; a layer that is missing is dense


def phase_cost(
    layer: LayerSpec, phase: Phase, machine: Machine, images: int, state: State, *, is_kept: bool = True
) -> Cost:
    """Return the cost of one phase of one layer for ``images`` images; ``is_kept`` as in ``memory.traffic``."""
    macs, effective = needed_macs(layer, phase, images, state)
    if not macs:
        return Cost()
    living = living_part(layer, machine.array, state)
    if living is None or not state.trained_share(phase):
        return Cost(macs=macs, effective_macs=effective)
    needed = compute(living[0], phase, machine, images, living[1])
    moved = memory.traffic(living[0], phase, machine, images, living[1], is_kept=is_kept)
    timed = memory.timing(machine, needed, moved)
    energy = joules(
        machine.energy,
        executed_macs=needed.executed_macs,
        skipped_macs=max(0.0, macs - needed.executed_macs),
        sram_bytes=timed.sram_bytes,
        dram_bytes=moved.total,
        seconds=timed.cycles / machine.array.frequency_hz,
    )
    return Cost(macs, effective, timed.cycles, timed.stall_cycles, moved.total, energy)


@dataclass(frozen=True, slots=True)
class Step:
    """The parts of one training step, by name; they add up to ``total``."""

    parts: dict[str, Cost]

    @property
    def total(self) -> Cost:
        """Sum of the parts."""
        return sum(self.parts.values(), Cost())


LAYER_PARTS = ("FP", "BP", "WU", "target FP")


@dataclass(frozen=True, slots=True)
class Job:
    """A phase of a layer as a step performs it; equal jobs cost the same.

    Attributes:
        part: of the step that pays for it.
        index: of the first layer with this shape.
        phase: which.
        state: what is sparse.
        is_kept: as in ``memory.traffic``.
    """

    part: str
    index: int
    phase: Phase
    state: State
    is_kept: bool


def jobs(workload: Workload, online: States, target: States) -> dict[Job, float]:
    """Return the phases of all layers that a step performs, and how often, which may be a fraction.

    Raises:
        HardwareError: if a state names no layer.
    """
    spec, dense = workload.step, workload.step.dense_gradient_share
    learners = resolved(workload, online), resolved(workload, target)
    counts: dict[Job, float] = {}

    def count(times: float, part: str, index: int, phase: Phase, state: State, *, is_kept: bool = True) -> None:
        if times:
            job = Job(part, workload.alike[index], phase, state, is_kept)
            counts[job] = counts.get(job, 0.0) + times

    for index, layer in enumerate(workload.layers):
        for passes, states in zip(spec.trained_passes(layer.part), learners, strict=True):
            count(passes, "FP", index, Phase.FP, states[index])
            count(passes, "BP", index, Phase.BP, states[index])
            count(passes * (1.0 - dense), "WU", index, Phase.WU, states[index])
            count(passes * dense, "WU", index, Phase.WU, replace(states[index], weights=DENSE))
        count(spec.forward_passes(layer.part), "target FP", index, Phase.FP, learners[1][index], is_kept=False)
    return counts


def step(workload: Workload, machine: Machine, online: States, target: States) -> Step:
    """Return the cost of one training step.

    Args:
        workload: network and step.
        machine: on what.
        online: what is sparse in the online branch.
        target: the same in the target or the tied twin.

    Raises:
        HardwareError: if a state names no layer, or a mask does not fit its layer or the machine.
    """
    parts = {name: Cost() for name in LAYER_PARTS}
    images, known = workload.step.batch, dict[tuple[int, Phase, State, bool], Cost]()
    for job, times in jobs(workload, online, target).items():
        shared = (job.index, job.phase, job.state, job.is_kept)
        if shared not in known:
            layer = workload.layers[job.index]
            known[shared] = phase_cost(layer, job.phase, machine, images, job.state, is_kept=job.is_kept)
        parts[job.part] += known[shared].times(times)
    return Step(
        parts
        | overhead.parts(workload, machine, resolved(workload, online), resolved(workload, target), {*online, *target})
    )


def amdahl_limit(workload: Workload, online: States, target: States) -> float:
    """Return the speed-up if every multiply-accumulate of the layers took the same time (README.md, section 8).

    It bounds what skipping alone can give. A machine may still show more where the dense layer fits it worse.
    """
    dense = effective = 0.0
    for job, times in jobs(workload, online, target).items():
        macs, needed = needed_macs(workload.layers[job.index], job.phase, workload.step.batch, job.state)
        dense, effective = dense + times * macs, effective + times * needed
    return dense / effective


def resolved(workload: Workload, states: States) -> list[State]:
    """Return the state of each layer, input channels gone whose producer's filters are.

    Raises:
        HardwareError: if a state names no layer.
    """
    if unknown := sorted(states.keys() - {layer.name for layer in workload.layers}):
        raise HardwareError(f"{workload.name} has no layer {', '.join(unknown)}. Give masks of this network.")
    found: dict[str, State] = {}
    for layer in workload.layers:
        state = states.get(layer.name, DENSE_STATE)
        source = None if layer.reads is None or layer.groups > 1 else found[layer.reads]
        if source is not None and source is not DENSE_STATE:
            living = source.weights.living_outputs(layer.in_channels)
            if not living.all():
                state = replace(state, weights=state.weights.without(living))
        found[layer.name] = state
    return list(found.values())
