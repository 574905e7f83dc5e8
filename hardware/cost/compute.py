"""Compute cycles of one phase of one layer; memory is another matter (``memory.py``).

Closed forms, dense, for N images, K outputs, C inputs, R S kernel positions, rows x columns x pixels multipliers:

    core          FP  ceil(C/columns) ceil(K/rows) ceil(N Ho Wo/pixels) R S + fill
                  BP  ceil(K/columns) ceil(C/rows) ceil(N Ho Wo/pixels) R S + fill
                  WU  ceil(N Ho Wo/columns) ceil(K/rows) ceil(C/pixels) R S + fill
    systolic_os   ceil(M/rows) ceil(N/columns) (K + rows + columns - 2)
    systolic_ws   ceil(K/rows) ceil(N/columns) (rows + M + rows + columns - 2)

The systolic forms, over the M x N x K products of each phase, are SCALE-Sim 3.0.0's reported cycles + 1.
"""

from dataclasses import dataclass, replace

from hardware.cost.dense import gemm_cycles, gemms
from hardware.machine import Array, Machine
from hardware.network.layer import LayerSpec
from hardware.skipping.base import Nothing, Skipping, Tile, Work, ceil_div
from hardware.sparsity.state import Phase, State
from hardware.sparsity.weights import Grid


@dataclass(frozen=True, slots=True)
class Compute:
    """One phase of one layer on the array.

    Attributes:
        executed_macs: multiply-accumulates that the machine performs, zeros it cannot skip included.
        cycles: of the array.
        work: tile passes and weight positions; a systolic array has no passes.
        repeats: how often each pass is repeated.
    """

    executed_macs: float
    cycles: float
    work: Work
    repeats: int


NO_COMPUTE = Compute(0, 0, Work(0, 0), 0)


def needed_macs(layer: LayerSpec, phase: Phase, images: int, state: State) -> tuple[int, float]:
    """Return the multiply-accumulates of the dense layer and of the algorithm: non-zero weights, open gates."""
    if _is_free(layer, phase):
        return 0, 0.0
    needed = state.gate.needed_share() * state.trained_share(phase)
    ones = state.weights.ones(layer.weight_grid)
    return images * layer.macs, images * layer.out_pixels * ones * needed


def living_part(layer: LayerSpec, array: Array, state: State) -> tuple[LayerSpec, State] | None:
    """Return what remains of a layer when the machine removes dead channels; None if nothing does."""
    if not array.removes_filters or layer.groups > 1:
        return layer, state
    outputs, inputs = state.weights.alive(layer.out_channels, layer.in_channels)
    if not outputs or not inputs:
        return None
    if (outputs, inputs) == (layer.out_channels, layer.in_channels):
        return layer, state
    smaller = replace(layer, out_channels=outputs, in_channels=inputs)
    return smaller, replace(state, weights=state.weights.compacted())


def compute(layer: LayerSpec, phase: Phase, machine: Machine, images: int, state: State) -> Compute:
    """Return the cost of one phase of one layer, whose dead channels are gone already.

    Raises:
        HardwareError: if a mask does not belong to the layer, or does not divide into the machine's shapes.
    """
    if _is_free(layer, phase):
        return NO_COMPUTE
    array = machine.array
    share = state.trained_share(phase)
    if array.is_systolic:
        products = list(gemms(layer, phase, images, inserts_zeros=array.inserts_zeros))
        cycles = layer.groups * sum(gemm_cycles(array, gemm) for gemm in products) * share
        macs = layer.groups * sum(gemm.m * gemm.n * gemm.k for gemm in products)  # inserted zeros are multiplied too
        return Compute(macs * share, cycles, Work(0, layer.weights), 1)
    if array.skips_gates:
        share *= state.gate.computed_share(*_in_lock_step(phase, array), array.gate_groups)
    outputs, inputs, kernel = layer.weight_grid
    grid_of_one = (outputs // layer.groups, inputs, kernel)
    work = state.weights.work(*_seen(phase, machine, layer), grid_of_one, layer.groups)
    pixels = images * (layer.in_pixels if phase is Phase.BP and array.inserts_zeros else layer.out_pixels)
    repeats = ceil_div(pixels, array.cores * (array.columns if phase is Phase.WU else array.pixels))
    cycles = work.passes * repeats * share + array.fill_cycles
    return Compute(work.positions * pixels * share, cycles, work, repeats)


def _in_lock_step(phase: Phase, array: Array) -> tuple[int, int]:
    """Return the gated outputs and the pixels that one pass works on: it can be left out if all their gates are closed.

    FP computes ``rows`` outputs; BP sums over ``columns`` of them; WU computes gradients of ``rows`` outputs' weights
    and sums over ``columns`` pixels, unless open pixels are gathered.
    """
    outputs = array.columns if phase is Phase.BP else array.rows
    pixels = array.columns if phase is Phase.WU else array.pixels
    return outputs, 1 if array.gathers_open_pixels else pixels


def _is_free(layer: LayerSpec, phase: Phase) -> bool:
    return phase is Phase.BP and layer.is_first  # nobody needs the gradient of the image


def _seen(phase: Phase, machine: Machine, layer: LayerSpec) -> tuple[Skipping, Grid, Tile]:
    """Return what skips, on which grid, in which tiles."""
    array, skipping = machine.array, machine.skipping
    is_flattened = array.flattens_stem and layer.is_first
    match phase:
        case Phase.FP:
            seen = skipping if array.skips_forward else Nothing()
            return seen, Grid(is_transposed=False, is_flattened=is_flattened), machine.tile
        case Phase.BP:
            seen = skipping.transposed() if array.skips_input_gradient else Nothing()
            return seen, Grid(is_transposed=True, is_flattened=False), machine.tile
        case Phase.WU:
            seen = skipping.for_outputs() if array.skips_weight_gradient else Nothing()
            return seen, Grid(is_transposed=True, is_flattened=is_flattened), machine.output_tile
