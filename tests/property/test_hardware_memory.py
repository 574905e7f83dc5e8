"""Laws of storage, traffic, time and energy: H5, H12 to H14, H16."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hardware import presets
from hardware.checks import HardwareError
from hardware.cost.compute import compute
from hardware.cost.energy import joules
from hardware.cost.memory import Operands, Order, candidates, timing, traffic
from hardware.cost.step import phase_cost
from hardware.machine import EnergyTable, Machine, Memory, Per
from hardware.network.layer import LayerSpec
from hardware.sparsity.state import DENSE_STATE, Phase, State
from hardware.sparsity.weights import Density, Mask
from hardware.storage.formats import Bitmap, Csr, Dense, Format
from hardware.storage.grouped import BlockValues, NofMValues
from tests.unit.hardware.networks import BITMAP, ELEMENTS, conv

MACHINE = presets.machine("chip28nm", [ELEMENTS, BITMAP])
FORMATS: dict[str, Format] = {
    "dense": Dense(),
    "bitmap": Bitmap(),
    "csr": Csr(2, 4, is_transposed=False),
    "csc": Csr(1, 2, is_transposed=True),
    "2:4": NofMValues(2, 4, is_mixed=False),
    "3:8": NofMValues(3, 8, is_mixed=True),
    "block": BlockValues(3, 4),
}

seeds = st.integers(0, 2**32 - 1)
phases = st.sampled_from(list(Phase))
sizes = st.integers(0, 10**7)
halves = st.integers(1, 10**6)


@st.composite
def layers(draw: st.DrawFn) -> LayerSpec:
    channels = st.sampled_from([8, 64, 256])
    kernel = draw(st.sampled_from([1, 3]))
    return conv("layer", draw(channels), draw(st.integers(2, 32)), draw(channels), kernel, 1, kernel // 2)


def changed(machine: Machine, **memory: object) -> Machine:
    entries = {name: getattr(machine.memory, name) for name in Memory.__slots__} | memory
    return replace(machine, memory=Memory(**entries))


@pytest.mark.parametrize("name", FORMATS)
@given(seeds, st.integers(1, 9), st.integers(1, 3), st.sampled_from([1, 9]), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_decoding_gives_back_what_was_encoded(
    name: str, seed: int, outputs: int, eights: int, kernel: int, density: float
) -> None:
    """In exactly the bytes of the formula, all zero and all dense included."""
    stored_as, generator = FORMATS[name], np.random.default_rng(seed)
    shape = (outputs, 8 * eights, kernel)
    values = generator.integers(1, 255, shape).astype(np.uint16) * (generator.random(shape) < density)
    values = values.astype(np.uint16)
    if name == "2:4":
        values[:, 0::4] = values[:, 1::4] = 0
    stored = stored_as.encode(values)
    assert (stored_as.decode(stored, shape, values.dtype) == values).all()
    assert len(stored) == sum(stored_as.size(values != 0, 2))
    n, z = values.size, np.count_nonzero(values)
    blocks = -(-outputs // 3) * 2 * eights * kernel
    full = sum(
        values[k : k + 3, c : c + 4, tap].any()
        for k in range(0, outputs, 3)
        for c in range(0, 8 * eights, 4)
        for tap in range(kernel)
    )
    dense_groups = np.count_nonzero(np.count_nonzero(values.reshape(outputs, eights, 8, kernel), axis=2) > 3)
    exact = n // 8 - dense_groups
    formula = {
        "dense": 2 * n,
        "bitmap": 2 * z + math.ceil(n / 8),
        "csr": z * (2 + 2) + (outputs + 1) * 4,
        "csc": z * (2 + 1) + (8 * eights * kernel + 1) * 2,
        "2:4": n // 2 * 2 + math.ceil(n // 2 * 2 / 8),
        "3:8": (3 * exact + 8 * dense_groups) * 2 + math.ceil(3 * exact * 3 / 8) + math.ceil(n / 8 / 8),
        "block": full * 12 * 2 + math.ceil(blocks / 8),
    }
    assert len(stored) == formula[name]


def test_a_strict_format_refuses_a_mixture() -> None:
    with pytest.raises(HardwareError, match=r"choose format.kind = 'n_of_m_mixed'"):
        NofMValues(2, 4, is_mixed=False).encode(np.ones((1, 4, 1), np.uint8))
    with pytest.raises(HardwareError, match=r"cannot store them"):
        NofMValues(2, 4, is_mixed=False).expected_size((8, 8, 1), 0.6, 1)


def test_an_index_that_is_too_small_is_refused() -> None:
    with pytest.raises(HardwareError, match=r"Raise format.index_bytes"):
        Csr(1, 4, is_transposed=False).encode(np.ones((1, 300, 1), np.uint8))


@given(st.integers(1, 8), st.integers(1, 60), st.floats(0, 1))
def test_a_bitmap_pays_below_the_break_even(value_bytes: int, eights: int, density: float) -> None:
    """d < 1 - 1 / (8 b)."""
    n = 8 * eights
    ones = math.floor(n * density)
    mask = (np.arange(n) < ones).reshape(1, n, 1)
    pays = sum(Bitmap().size(mask, value_bytes)) < n * value_bytes
    assert pays == (ones < n * (1 - 1 / (8 * value_bytes)))


@given(sizes, sizes, sizes, sizes, halves, halves, halves, st.sampled_from(["left", "right", "out"]), halves)
def test_more_buffer_never_costs_traffic(
    left: int, right: int, out: int, partial: int, a: int, b: int, c: int, which: str, more: int
) -> None:
    small = Operands(left=left, right=right, out=out, partial=partial, left_half=a, right_half=b, out_half=c)
    key = f"{which}_half"
    large = replace(small, **{key: getattr(small, key) + more})
    before, after = candidates(small, may_spill=True), candidates(large, may_spill=True)
    assert all(sum(after[order]) <= sum(before[order]) for order in Order)
    assert all(sum(before[order]) >= left + right + out for order in Order)


@given(sizes, sizes, sizes)
def test_what_fits_travels_once(left: int, right: int, out: int) -> None:
    huge = Operands(left=left, right=right, out=out, partial=out, left_half=10**8, right_half=10**8, out_half=10**8)
    assert set(candidates(huge, may_spill=True).values()) == {(left, right, out)}


def test_the_loop_orders_by_hand() -> None:
    """100 bytes of left in halves of 30, 80 of right in halves of 50, 60 of accumulators in halves of 20."""
    sizes = Operands(left=100, right=80, out=60, partial=60, left_half=30, right_half=50, out_half=20)
    assert candidates(sizes, may_spill=True) == {
        Order.LEFT: (100, 4 * 80, 60),
        Order.RIGHT: (2 * 100, 80, 60),
        Order.OUTPUT: (2 * 100, 2 * 80, 60),
        Order.SPILL: (100, 80, 60 + 2 * 60),
    }


@given(layers(), phases, st.integers(1, 4), st.sampled_from([0.1, 0.5, 1.0]), st.floats(0.5, 64))
def test_time_never_beats_the_bandwidth(
    layer: LayerSpec, phase: Phase, images: int, density: float, bandwidth: float
) -> None:
    for overlaps in (False, True):
        machine = changed(MACHINE, dram_bandwidth=bandwidth, overlaps_layers=overlaps)
        cost = phase_cost(layer, phase, machine, images, State(Density(density)))
        array = compute(layer, phase, machine, images, State(Density(density)))
        assert cost.cycles >= cost.dram_bytes / bandwidth * (1 - 1e-12)
        assert cost.cycles >= array.cycles
        assert cost.stall_cycles == pytest.approx(cost.cycles - array.cycles)
        faster = phase_cost(
            layer, phase, changed(machine, dram_bandwidth=2 * bandwidth), images, State(Density(density))
        )
        assert faster.cycles <= cost.cycles


@given(layers(), phases)
def test_infinite_bandwidth_never_stalls(layer: LayerSpec, phase: Phase) -> None:
    machine = changed(
        MACHINE, dram_bandwidth=math.inf, sram_bytes_per_cycle=math.inf, metadata_bytes_per_cycle=math.inf
    )
    assert phase_cost(layer, phase, machine, 3, State(Density(0.5))).stall_cycles == 0


@given(seeds, phases, st.integers(0, 2**16), st.sampled_from(["bitmap", "csr", "block"]))
def test_removing_a_weight_never_costs_bytes_or_energy(seed: int, phase: Phase, which: int, name: str) -> None:
    layer = conv("layer", 16, 6, 24, 3, 1, 1)
    mask = np.random.default_rng(seed).random(layer.weight_shape) < 0.3
    ones = np.flatnonzero(mask)
    assume(len(ones))
    fewer = mask.copy()
    fewer.flat[ones[which % len(ones)]] = False
    machine = replace(MACHINE, format=FORMATS[name])
    before, after = (phase_cost(layer, phase, machine, 2, State(Mask(item))) for item in (mask, fewer))
    assert after.dram_bytes <= before.dram_bytes
    assert after.joules <= before.joules
    assert Bitmap().size(fewer.reshape(24, 16, 9), 1)[1] == Bitmap().size(mask.reshape(24, 16, 9), 1)[1]


@pytest.mark.parametrize("preset", presets.names())
@pytest.mark.parametrize("phase", Phase)
@given(seeds, st.sampled_from([4, 8, 16]), st.integers(0, 2**16))
def test_removing_a_weight_never_costs_beside_dead_channels(
    preset: str, phase: Phase, seed: int, band: int, which: int
) -> None:
    """Nor removing the last one of a channel: what lives does not move on the grid of blocks."""
    layer, generator = conv("layer", 64, 6, 64, 3, 1, 1), np.random.default_rng(seed)
    bands = generator.random((64 // band, 64 // band, 3, 3)) < generator.random((64 // band, 1, 1, 1)) ** 2
    bands &= generator.random((64 // band, 1, 1, 1)) < 0.7
    mask = bands.repeat(band, axis=0).repeat(band, axis=1)
    mask[generator.integers(64), generator.integers(64), 0, 0] = True
    channels = np.flatnonzero(mask.any(axis=(1, 2, 3)))
    fewest = min(channels, key=lambda channel: int(mask[channel].sum()))
    ones = np.flatnonzero(mask[fewest])
    fewer = mask.copy()
    fewer[fewest].flat[ones[which % len(ones)]] = False
    machine = presets.machine(preset)
    before, after = (phase_cost(layer, phase, machine, 2, State(Mask(item))) for item in (mask, fewer))
    assert after.cycles <= before.cycles
    assert after.dram_bytes <= before.dram_bytes
    assert after.joules <= before.joules * (1 + 1e-12)


def test_a_lone_weight_that_goes_takes_nothing_along() -> None:
    """Bands of 16 in which the first holds one block's worth of inputs alone: published as 55 % slower without it."""
    layer, generator = conv("layer", 256, 8, 256, 3, 1, 1), np.random.default_rng(0)
    mask = np.zeros(layer.weight_shape, np.bool_)
    mask[16:] = (generator.random((15, 16, 3, 3)) < 0.3).repeat(16, axis=0).repeat(16, axis=1)
    lone = mask.copy()
    lone[:16, 0, 0, 0] = True
    fewer = lone.copy()
    fewer[0, 0, 0, 0] = False
    for phase in Phase:
        before, after = (
            phase_cost(layer, phase, presets.machine("chip28nm"), 256, State(Mask(item))) for item in (lone, fewer)
        )
        assert after.cycles <= before.cycles
        assert after.joules <= before.joules
    strict = presets.machine("chip28nm", ["skipping.pads=false"])
    assert phase_cost(layer, Phase.FP, strict, 4, State(Mask(fewer))).cycles > 0  # the layer still divides


@given(layers(), st.floats(0.0, 1.0))
def test_skipped_gradients_move_no_maps(layer: LayerSpec, skip: float) -> None:
    """Inputs and outputs of the images that are left out stay where they are; weights and their gradients move."""
    plenty = 2**30  # everything fits, so everything travels once
    machine = changed(
        MACHINE, weight_sram_bytes=plenty, activation_sram_bytes=plenty, output_sram_bytes=plenty, dram_burst_bytes=1
    )
    maps = 8 * (layer.in_channels * layer.in_pixels + layer.out_channels * layer.out_pixels)
    for phase in (Phase.BP, Phase.WU):
        whole, part, none = (
            phase_cost(layer, phase, machine, 8, State(gradient_skip=share)) for share in (0.0, skip, 1.0)
        )
        assert whole.dram_bytes == maps + layer.weights
        assert part.dram_bytes == pytest.approx(((1 - skip) * maps + layer.weights) if skip < 1 else 0, abs=2)
        assert part.cycles <= whole.cycles
        assert (none.cycles, none.dram_bytes, none.effective_macs) == (0, 0, 0)
    forward = [phase_cost(layer, Phase.FP, machine, 8, State(gradient_skip=share)) for share in (0.0, skip)]
    assert forward[0] == forward[1]


def test_the_image_comes_from_dram_in_a_forward_only_pass() -> None:
    stem = replace(conv("stem", 3, 8, 8, 3, 1, 1), is_first=True)
    moved = traffic(stem, Phase.FP, MACHINE, 4, DENSE_STATE, is_kept=False)
    assert (moved.right, moved.out) == (4 * 3 * 64, 0)


@given(layers(), st.integers(1, 8), phases)
def test_a_larger_batch_never_costs_less(layer: LayerSpec, images: int, phase: Phase) -> None:
    one, two = (phase_cost(layer, phase, MACHINE, count, DENSE_STATE) for count in (images, 2 * images))
    assert two.cycles >= one.cycles
    assert two.dram_bytes >= one.dram_bytes


@given(st.integers(1, 8))
def test_weights_that_fit_travel_once_whatever_the_batch(images: int) -> None:
    """So per image they halve when the batch doubles."""
    layer = conv("layer", 64, 16, 64, 3, 1, 1)
    machine = changed(MACHINE, weight_sram_bytes=2 * layer.weights)
    moved = [traffic(layer, Phase.FP, machine, count, DENSE_STATE, is_kept=True).left for count in (images, 2 * images)]
    assert moved == [layer.weights, layer.weights]


@given(layers())
def test_a_forward_only_pass_keeps_on_chip_what_fits(layer: LayerSpec) -> None:
    kept, passing = (
        traffic(layer, Phase.FP, changed(MACHINE, activation_sram_bytes=2**24), 1, DENSE_STATE, is_kept=is_kept)
        for is_kept in (True, False)
    )
    assert (passing.right, passing.out, passing.left) == (0, 0, kept.left)
    assert min(kept.right, kept.out) > 0


def test_a_transposition_is_charged_where_the_layout_does_not_serve_it() -> None:
    layer = conv("layer", 64, 16, 64, 3, 1, 1)
    free, charged = (
        traffic(layer, Phase.BP, changed(MACHINE, transposes_freely=is_free), 1, DENSE_STATE, is_kept=True).total
        for is_free in (True, False)
    )
    assert charged - free == 2 * layer.weights


@given(layers(), phases)
def test_slow_decoding_bounds_the_time(layer: LayerSpec, phase: Phase) -> None:
    machine, state = changed(MACHINE, metadata_bytes_per_cycle=1e-3), State(Density(0.5))
    moved = traffic(layer, phase, machine, 1, state, is_kept=True)
    timed = timing(machine, compute(layer, phase, machine, 1, state), moved)
    assert timed.cycles >= moved.metadata * 1e3
    assert bool(moved.metadata) == (phase is not Phase.WU)


@given(layers(), phases, st.sampled_from(list(Per)))
def test_a_faster_clock_helps_all_only_if_memory_follows(layer: LayerSpec, phase: Phase, per: Per) -> None:
    bandwidth = {Per.CYCLE: 8.0, Per.SECOND: 8.0 * 400e6}[per]
    slow = changed(MACHINE, dram_bandwidth=bandwidth, dram_bandwidth_per=per)
    fast = replace(slow, array=replace(slow.array, frequency_hz=800e6))
    seconds = [
        phase_cost(layer, phase, machine, 2, DENSE_STATE).cycles / machine.array.frequency_hz
        for machine in (slow, fast)
    ]
    if per is Per.CYCLE:
        assert seconds[0] == pytest.approx(2 * seconds[1])
    else:
        bound = phase_cost(layer, phase, slow, 2, DENSE_STATE).dram_bytes / bandwidth
        assert max(seconds[0] / 2, bound) <= seconds[1] * (1 + 1e-12)
        assert seconds[1] <= seconds[0]


positive = st.floats(0, 1e9)


@given(positive, positive, positive, positive, st.floats(0, 10))
def test_energy_is_linear_and_nothing_costs_nothing(
    macs: float, skipped: float, sram: float, dram: float, seconds: float
) -> None:
    table = presets.machine("chip28nm").energy

    def energy(table: EnergyTable, factor: float = 1.0) -> float:
        return joules(
            table,
            executed_macs=factor * macs,
            skipped_macs=factor * skipped,
            sram_bytes=factor * sram,
            dram_bytes=factor * dram,
            seconds=factor * seconds,
        )

    assert energy(table, 0.0) == 0.0
    assert energy(table, 3.0) == pytest.approx(3 * energy(table))
    costlier = replace(table, dram_pj_per_byte=table.dram_pj_per_byte + 100)
    assert energy(costlier) - energy(table) == pytest.approx(dram * 100e-12, rel=1e-6, abs=1e-12)


@given(layers(), phases)
def test_skipping_costs_no_more_than_gating_and_gating_no_more_than_computing(layer: LayerSpec, phase: Phase) -> None:
    def energy(skipped_mac_pj: float, density: float) -> float:
        machine = replace(MACHINE, energy=replace(MACHINE.energy, skipped_mac_pj=skipped_mac_pj))
        return phase_cost(layer, phase, machine, 2, State(Density(density))).joules

    assert energy(0.0, 0.3) <= energy(0.03, 0.3) <= energy(0.3, 1.0)
