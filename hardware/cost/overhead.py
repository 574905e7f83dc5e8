"""What a training step does beside its layers: loss, normalisation, optimizer, moving average, mask update."""

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from hardware.cost.cost import Cost
from hardware.cost.energy import joules
from hardware.machine import Machine
from hardware.network.layer import LayerSpec, Part
from hardware.network.workload import Workload
from hardware.sparsity.state import Phase, State
from hardware.storage.formats import whole_bytes


def parts(
    workload: Workload, machine: Machine, online: Sequence[State], target: Sequence[State], masked: AbstractSet[str]
) -> dict[str, Cost]:
    """Return the parts by name (README.md, sections 5 and 7).

    Args:
        workload: network and step.
        machine: on what.
        online: what is sparse in each layer of the online branch.
        target: the same in the target or the tied twin.
        masked: names of the layers that a mask update looks at.
    """
    spec, widths = workload.step, machine.widths
    trained = sum(layer.weights for layer in workload.layers)
    averaged = sum(layer.weights for layer in workload.layers if layer.part is not Part.PREDICTOR)
    looked_at = sum(layer.weights for layer in workload.layers if layer.name in masked)
    # Read and write the master copy and each state, write the working copy; read what WU wrote in each pass.
    per_weight = 2 * widths.master_bytes + 2 * spec.optimizer_states * widths.state_bytes + widths.weight_bytes
    gradients = _gradients(workload, online, target) * widths.gradient_bytes
    optimizer = stream(machine, (1 + spec.optimizer_states) * trained, trained * per_weight + math.ceil(gradients))
    # Read online, read and write target, write its working copy.
    average = stream(machine, averaged, averaged * (3 * widths.master_bytes + widths.weight_bytes))
    update = stream(machine, looked_at, looked_at * widths.master_bytes + whole_bytes(looked_at))
    return {
        "loss": _loss(machine, spec.loss_macs),
        "batch norm": _batch_norm(workload, machine, online, target),
        "optimizer": optimizer,
        "moving average": average if spec.target_is_ema else Cost(),
        "mask update": update.times(1 / spec.mask_update_period_steps) if spec.mask_update_period_steps else Cost(),
    }


def stream(machine: Machine, elements: int, dram_bytes: int) -> Cost:
    """Return the cost of a pass of the vector unit over ``elements``, beside its traffic."""
    busy, moving = elements / machine.array.vector_lanes, dram_bytes / machine.dram_bytes_per_cycle
    cycles = max(busy, moving)
    energy = joules(
        machine.energy,
        executed_macs=0,
        skipped_macs=0,
        sram_bytes=dram_bytes,
        dram_bytes=dram_bytes,
        seconds=cycles / machine.array.frequency_hz,
    )
    return Cost(cycles=cycles, stall_cycles=cycles - busy, dram_bytes=dram_bytes, joules=energy)


def _loss(machine: Machine, macs: int) -> Cost:
    """Return the cost of the loss at full use of the array: it is small, and its shape is the framework's."""
    cycles = math.ceil(macs / machine.array.peak_macs_per_cycle)
    energy = joules(
        machine.energy,
        executed_macs=macs,
        skipped_macs=0,
        sram_bytes=0,
        dram_bytes=0,
        seconds=cycles / machine.array.frequency_hz,
    )
    return Cost(macs=macs, effective_macs=macs, cycles=cycles, joules=energy)


def _gradients(workload: Workload, online: Sequence[State], target: Sequence[State]) -> float:
    """Return the weight gradients that a step produces: of kept weights, and of all at the share of dense gradients."""
    dense, total = workload.step.dense_gradient_share, 0.0
    for layer, *states in zip(workload.layers, online, target, strict=True):
        for passes, state in zip(workload.step.trained_passes(layer.part), states, strict=True):
            total += passes * (dense * layer.weights + (1.0 - dense) * state.weights.ones(layer.weight_grid))
    return total


def _batch_norm(workload: Workload, machine: Machine, online: Sequence[State], target: Sequence[State]) -> Cost:
    """Return two passes over the outputs in FP (statistics, scaling) and two in BP, of all channels.

    Those of BP are of the images that are trained on: elsewhere no error comes in.
    """
    if not machine.memory.charges_batch_norm:
        return Cost()
    spec, total = workload.step, Cost()
    for layer, *states in zip(workload.layers, online, target, strict=True):
        if layer.has_batch_norm:
            trained = spec.trained_passes(layer.part)
            forward = sum(trained) + spec.forward_passes(layer.part)
            backward = sum(
                passes * state.trained_share(Phase.BP) for passes, state in zip(trained, states, strict=True)
            )
            total += _one_pass(layer, machine, spec.batch).times(2 * (forward + backward))
    return total


def _one_pass(layer: LayerSpec, machine: Machine, images: int) -> Cost:
    elements = images * layer.out_channels * layer.out_pixels
    size = elements * machine.widths.activation_bytes
    return stream(machine, elements, size if size > machine.memory.activation_sram_bytes else 0)
