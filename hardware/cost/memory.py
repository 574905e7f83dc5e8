"""DRAM traffic of one phase of one layer, and how long it takes beside the computation (README.md, section 5).

Every phase multiplies a left with a right operand:

    phase   left (its buffer)      right (its buffer)        out
    FP      weights (weight)       activations (activation)  activations
    BP      weights (weight)       errors (activation)       errors
    WU      activations (activ.)   errors (weight)           weight gradients

One operand stays, chunk by chunk, in half its buffer, and the other streams past it once per chunk, unless it fits
as a whole. Halos of neighbouring chunks are not counted.
"""

import enum
import math
from dataclasses import dataclass

from hardware.cost.compute import Compute
from hardware.machine import Machine
from hardware.network.layer import LayerSpec
from hardware.skipping.base import ceil_div
from hardware.sparsity.state import Phase, State


class Order(enum.Enum):
    """Which operand stays. SPILL: left and right are read once, partial sums travel."""

    LEFT = "left stays"
    RIGHT = "right stays"
    OUTPUT = "output stays"
    SPILL = "partial sums spill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operands:
    """Bytes of the three operands, and the halves of their buffers."""

    left: int
    right: int
    out: int
    partial: int  # of all accumulators that the output needs
    left_half: int
    right_half: int
    out_half: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes to and from DRAM.

    Attributes:
        order: the loop order that was chosen.
        left: read.
        right: read.
        out: written, partial sums included.
        metadata: bytes of positions within ``left``, each time it is read.
        extra: for a transposition.
    """

    order: Order
    left: int
    right: int
    out: int
    metadata: int
    extra: int

    @property
    def total(self) -> int:
        """Sum of all."""
        return self.left + self.right + self.out + self.extra


def candidates(sizes: Operands, *, may_spill: bool) -> dict[Order, tuple[int, int, int]]:
    """Return (left, right, out) bytes for each loop order. More buffer never makes any of them larger."""
    left_chunks, right_chunks = ceil_div(sizes.left, sizes.left_half), ceil_div(sizes.right, sizes.right_half)
    left_again, right_again = left_chunks > 1, right_chunks > 1
    found = {
        Order.LEFT: (sizes.left, sizes.right * (left_chunks if right_again and left_again else 1), sizes.out),
        Order.RIGHT: (sizes.left * (right_chunks if left_again and right_again else 1), sizes.right, sizes.out),
    }
    need = max(1, ceil_div(sizes.partial, sizes.out_half))
    # The output is cut into `cuts` pieces along left and enough along right. Powers of two are plenty.
    options = []
    for cuts in (1 << power for power in range(need.bit_length() + 1)):
        left = sizes.left * (ceil_div(need, cuts) if left_again else 1)
        right = sizes.right * (cuts if right_again else 1)
        options.append((left + right, left, right))
    _, left, right = min(options)
    found[Order.OUTPUT] = (left, right, sizes.out)
    if may_spill:
        passes = min(left_chunks, right_chunks)
        found[Order.SPILL] = (sizes.left, sizes.right, sizes.out + 2 * max(0, passes - 1) * sizes.partial)
    return found


def traffic(layer: LayerSpec, phase: Phase, machine: Machine, images: int, state: State, *, is_kept: bool) -> Traffic:
    """Return the traffic of one phase of one layer, in the loop order that moves least; ties: the first.

    Args:
        layer: shape, channels that were removed already gone.
        phase: which.
        machine: on what.
        images: in this pass.
        state: what is sparse.
        is_kept: activations are stored for the backward pass; otherwise those that fit stay on chip, images apart.
    """
    if phase is Phase.BP and layer.is_first:
        return Traffic(Order.LEFT, 0, 0, 0, 0, 0)
    widths, memory = machine.widths, machine.memory
    trained = images * state.trained_share(phase)  # maps of the others do not move; weights do, whoever needs them
    inputs = math.ceil(trained * layer.in_channels * layer.in_pixels)
    outputs = math.ceil(trained * layer.out_channels * layer.out_pixels)
    payload, metadata = state.weights.size(machine.format, layer.weight_grid, widths.weight_bytes)
    weights = payload + metadata
    match phase:
        case Phase.FP:
            left, right, out = weights, inputs * widths.activation_bytes, outputs * widths.activation_bytes
            accumulators = outputs
        case Phase.BP:
            left, right, out = weights, outputs * widths.error_bytes, inputs * widths.error_bytes
            accumulators = inputs
        case Phase.WU:
            left, right = inputs * widths.activation_bytes, outputs * widths.error_bytes
            accumulators = math.ceil(state.weights.ones(layer.weight_grid))
            out, metadata = accumulators * widths.gradient_bytes, 0
    if phase is Phase.FP and not is_kept:
        right = 0 if right <= memory.activation_sram_bytes and not layer.is_first else right  # images come from DRAM
        out = 0 if out <= memory.activation_sram_bytes else out
    weight_half, activation_half = memory.weight_sram_bytes // 2, memory.activation_sram_bytes // 2
    sizes = Operands(
        left=left,
        right=right,
        out=out,
        partial=accumulators * widths.accumulator_bytes,
        left_half=activation_half if phase is Phase.WU else weight_half,
        right_half=weight_half if phase is Phase.WU else activation_half,
        out_half=memory.output_sram_bytes // 2,
    )
    found = candidates(sizes, may_spill=phase is Phase.WU)
    order = min(found, key=lambda item: sum(found[item]))
    extra = 2 * weights if phase is Phase.BP and not memory.transposes_freely else 0
    burst = memory.dram_burst_bytes
    moved = [ceil_div(size, burst) * burst for size in (*found[order], extra)]
    reloads = ceil_div(found[order][0], left) if left else 0
    return Traffic(order, moved[0], moved[1], moved[2], metadata * reloads, moved[3])


@dataclass(frozen=True, slots=True)
class Timing:
    """How long computation and traffic take together, in cycles.

    Attributes:
        cycles: all.
        stall_cycles: those in which the array waits for memory.
        sram_bytes: moved between buffers and multipliers.
        first_bytes: loaded before the array begins.
        last_bytes: stored after it ends.
    """

    cycles: float
    stall_cycles: float
    sram_bytes: float
    first_bytes: int
    last_bytes: int


def timing(machine: Machine, compute: Compute, moved: Traffic) -> Timing:
    """Return the time of one phase of one layer with double buffering.

    First load, then the slowest of computation, DRAM, buffers and decoding, then last store; the first load is the
    tile that the array needs to begin, the last store the tile that it ends with, so that time never falls below
    bytes / bandwidth, and more buffer never costs time. Buffers deliver one vector of activations and exchange the
    accumulators in every cycle, and the left operand whenever it came from DRAM.
    """
    array, memory, widths = machine.array, machine.memory, machine.widths
    vector = array.columns * array.pixels * widths.activation_bytes
    begins = min(moved.left + moved.right, array.rows * array.columns * widths.weight_bytes + vector)
    ends = min(moved.out, array.rows * array.pixels * widths.accumulator_bytes)
    if memory.overlaps_layers:
        begins = ends = 0
    rate = machine.dram_bytes_per_cycle
    sram = array.cores * compute.cycles * (vector + 2 * array.rows * array.pixels * widths.accumulator_bytes)
    sram += moved.left
    slowest = max(
        compute.cycles,
        (moved.total - begins - ends) / rate,
        sram / memory.sram_bytes_per_cycle,
        moved.metadata / memory.metadata_bytes_per_cycle,
    )
    cycles = (begins + ends) / rate + slowest
    return Timing(cycles, cycles - compute.cycles, sram, begins, ends)
