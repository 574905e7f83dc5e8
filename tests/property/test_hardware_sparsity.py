"""Laws of sparse cycles: H1, H4, H5, H7 to H10, H15, H17, and the order of the granularities."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hardware.checks import HardwareError
from hardware.cost.compute import compute, living_part, needed_macs
from hardware.machine import Machine
from hardware.network.layer import LayerSpec
from hardware.skipping.base import Bools, Skipping, Tile
from hardware.skipping.blocks import Blocks
from hardware.skipping.chance import expected_largest
from hardware.skipping.elements import Elements
from hardware.skipping.n_of_m import NofM, NofMOutputs
from hardware.sparsity.gates import GateMask, GateRate
from hardware.sparsity.state import DENSE_STATE, Phase, State
from hardware.sparsity.weights import Density, Mask
from tests.unit.hardware.networks import ALIGNED, ELEMENTS, PLAIN, TRANSPOSABLE, bare, conv

NOFM = TRANSPOSABLE.replace("transposable=true", "transposable=false")
BY_LANE = TRANSPOSABLE.replace("lane=false", "lane=true")
COMPACT = 'skipping={kind="block",rows=4,columns=8,compacts=true,pads=true}'
STEALING = 'skipping={kind="element",barrier_tiles=5,sync_cycles=0,work_stealing_percent=40}'
KINDS = {
    text: bare(text, "array.rows=8", "array.columns=16", "array.pixels=2")
    for text in (PLAIN, NOFM, TRANSPOSABLE, BY_LANE, COMPACT, ELEMENTS, STEALING)
}
ALIGNED_CORE, NOFM_CORE, ELEMENT_CORE = bare(ALIGNED), bare(TRANSPOSABLE), bare(ELEMENTS)
SMALL = Tile(8, 16)

seeds = st.integers(0, 2**32 - 1)
phases = st.sampled_from(list(Phase))
kinds = st.sampled_from(list(KINDS.values()))
densities = st.sampled_from([0.05, 0.3, 0.5, 0.8])
fours = st.integers(1, 10).map(lambda count: 4 * count)


@st.composite
def layers(draw: st.DrawFn) -> LayerSpec:
    kernel, size = draw(st.sampled_from([1, 3])), draw(st.integers(3, 9))
    return conv("layer", draw(fours), size, draw(fours), kernel, draw(st.integers(1, 2)), kernel // 2)


def random_mask(seed: int, layer: LayerSpec, density: float) -> Bools:
    return np.asarray(np.random.default_rng(seed).random(layer.weight_shape) < density)


def two_of_four(seed: int, shape: tuple[int, ...]) -> Bools:
    """Return a mask of (K, C, R, S) with exactly two of four along inputs."""
    k, c, r, s = shape
    ranks = np.random.default_rng(seed).random((k, c // 4, 4, r, s)).argsort(axis=2)
    return np.asarray(ranks.reshape(shape) % 4 < 2) if c == 4 else np.asarray((ranks < 2).reshape(shape))


def cycles(layer: LayerSpec, phase: Phase, machine: Machine, mask: Bools, images: int = 2) -> float:
    return compute(layer, phase, machine, images, State(Mask(mask))).cycles


@given(layers(), phases, kinds)
def test_a_full_mask_costs_what_the_dense_layer_costs(layer: LayerSpec, phase: Phase, machine: Machine) -> None:
    full = np.ones(layer.weight_shape, np.bool_)
    array = machine.array
    k, c, taps, pixels = layer.out_channels, layer.in_channels, layer.kernel, 2 * layer.out_pixels
    forms = {
        Phase.FP: math.ceil(c / array.columns) * math.ceil(k / array.rows) * taps * math.ceil(pixels / array.pixels),
        Phase.BP: math.ceil(k / array.columns) * math.ceil(c / array.rows) * taps * math.ceil(pixels / array.pixels),
        Phase.WU: math.ceil(c / array.pixels) * math.ceil(k / array.rows) * taps * math.ceil(pixels / array.columns),
    }
    assert cycles(layer, phase, machine, full) == forms[phase]
    assert compute(layer, phase, machine, 2, DENSE_STATE).cycles == forms[phase]
    assert compute(layer, phase, machine, 2, DENSE_STATE).executed_macs == 2 * layer.macs


@given(layers(), phases, kinds)
def test_expectations_approach_the_dense_layer(layer: LayerSpec, phase: Phase, machine: Machine) -> None:
    nearly = compute(layer, phase, machine, 2, State(Density(1 - 1e-12)))
    assert nearly.cycles == pytest.approx(compute(layer, phase, machine, 2, DENSE_STATE).cycles, rel=1e-6)


@given(seeds, layers(), phases, kinds, densities)
def test_no_machine_beats_its_multipliers(
    seed: int, layer: LayerSpec, phase: Phase, machine: Machine, density: float
) -> None:
    state = State(Mask(random_mask(seed, layer, density)))
    cost = compute(layer, phase, machine, 2, state)
    needed = needed_macs(layer, phase, 2, state)[1]
    assert needed <= cost.executed_macs <= 2 * layer.macs
    assert cost.executed_macs <= cost.cycles * machine.array.peak_macs_per_cycle


@given(seeds, layers(), phases, kinds, densities, st.integers(0, 2**16))
def test_removing_a_weight_never_costs(
    seed: int, layer: LayerSpec, phase: Phase, machine: Machine, density: float, which: int
) -> None:
    mask = random_mask(seed, layer, density)
    ones = np.flatnonzero(mask)
    assume(len(ones))
    fewer = mask.copy()
    fewer.flat[ones[which % len(ones)]] = False
    assert cycles(layer, phase, machine, fewer) <= cycles(layer, phase, machine, mask)


@given(seeds, densities, st.integers(1, 3), st.integers(1, 3))
def test_strict_two_of_four_halves_its_phases(seed: int, density: float, tiles_k: int, tiles_c: int) -> None:
    """Where all groups conform and dimensions divide, exactly; WU likewise; BP not at all along inputs only."""
    layer = conv("layer", 64 * tiles_c, 8, 64 * tiles_k, 3, 1, 1)
    mask, whole = two_of_four(seed, layer.weight_shape), np.ones(layer.weight_shape, np.bool_)
    machine = bare(NOFM)
    for phase, gain in ((Phase.FP, 2), (Phase.BP, 1), (Phase.WU, 2)):
        assert cycles(layer, phase, machine, whole) == gain * cycles(layer, phase, machine, mask)
    spoiled = mask.copy()
    for k in range(0, layer.out_channels, 32):
        spoiled[k, :, :, :].reshape(-1, 32, 3, 3)[:, :4] = True  # one dense group in each tile
    assert cycles(layer, Phase.FP, machine, spoiled) == cycles(layer, Phase.FP, machine, whole)
    random = random_mask(seed, layer, density)
    assert cycles(layer, Phase.FP, machine, random) <= cycles(layer, Phase.FP, machine, whole)
    assert cycles(layer, Phase.FP, bare(BY_LANE), random) <= cycles(layer, Phase.FP, machine, random)


def test_only_a_transposable_mask_helps_the_input_gradient() -> None:
    """A Latin pattern is two of four along both axes; the machine must be told to look for it."""
    layer = conv("layer", 64, 8, 64, 3, 1, 1)
    both_ways = np.add.outer(np.arange(64), np.arange(64)) % 4 < 2
    mask = np.broadcast_to(both_ways[:, :, None, None], layer.weight_shape)
    dense = compute(layer, Phase.BP, bare(PLAIN), 2, DENSE_STATE).cycles
    assert cycles(layer, Phase.BP, bare(NOFM), mask) == dense
    assert cycles(layer, Phase.BP, bare(TRANSPOSABLE), mask) == dense / 2


def test_a_few_dense_groups_spoil_fixed_hardware() -> None:
    """With 1 % of dense groups a 32 x 32 tile conforms with 0.99^256 = 0.076: 4 % are saved."""
    skipping = NofM(2, 4, falls_back_by_lane=False, is_transposable=False)
    work = skipping.expect((32, 64000, 1), 0.505, Tile(32, 32))
    assert round(1 - work.passes / 2000, 2) == round(0.99**256 * 0.5, 2) == 0.04


@given(seeds, densities)
def test_zero_blocks_are_skipped_on_the_grid_only(seed: int, density: float) -> None:
    layer = conv("layer", 96, 4, 64, 3, 1, 1)
    keep = np.random.default_rng(seed).random((2, 3, 3, 3)) < density
    assume(keep.any())
    mask = keep.repeat(32, axis=0).repeat(32, axis=1)
    whole = np.ones_like(mask)
    for phase in Phase:
        dense, sparse = cycles(layer, phase, ALIGNED_CORE, whole), cycles(layer, phase, ALIGNED_CORE, mask)
        assert sparse * keep.size == dense * np.count_nonzero(keep)  # speed-up = 1 / block density
    for axis in (0, 1):
        shifted = np.roll(mask, 1, axis=axis)
        assert cycles(layer, Phase.FP, ALIGNED_CORE, shifted) >= cycles(layer, Phase.FP, ALIGNED_CORE, mask)


@given(seeds)
def test_without_an_empty_block_nothing_is_gained(seed: int) -> None:
    layer = conv("layer", 64, 4, 64, 1, 1, 0)
    mask = random_mask(seed, layer, 0.2)
    assume(mask.reshape(2, 32, 2, 32).any(axis=(1, 3)).all())
    for phase in (Phase.FP, Phase.BP):
        assert cycles(layer, phase, ALIGNED_CORE, mask) == cycles(layer, phase, ALIGNED_CORE, np.ones_like(mask))


@given(seeds, layers(), st.sampled_from([PLAIN, TRANSPOSABLE, BY_LANE, ELEMENTS, STEALING]), densities)
def test_the_input_gradient_is_the_forward_pass_of_the_transpose(
    seed: int, layer: LayerSpec, text: str, density: float
) -> None:
    mask = random_mask(seed, layer, density)
    kernel = layer.kernel_height
    turned = conv("turned", layer.out_channels, layer.out_height, layer.in_channels, kernel, 1, kernel // 2)
    machine, flipped = KINDS[text], mask.transpose(1, 0, 2, 3)
    assert cycles(layer, Phase.BP, machine, mask) == cycles(turned, Phase.FP, machine, flipped)


@given(seeds, layers(), densities)
def test_blocks_are_as_useful_transposed(seed: int, layer: LayerSpec, density: float) -> None:
    mask = random_mask(seed, layer, density).reshape(*layer.weight_grid)
    blocks = Blocks(4, 8, compacts=True, pads=True)
    turned = Blocks(8, 4, compacts=True, pads=True)
    assert blocks.transposed() == turned
    assert blocks.measure(mask, SMALL).passes == turned.transposed().measure(mask, SMALL).passes


EDGES = [(19, 40, 3), (8, 32, 1), (3, 7, 2)]


def mean_passes(skipping: Skipping, shape: tuple[int, int, int], unit: tuple[int, int]) -> tuple[float, float]:
    """Return mean and four standard errors over random masks of 30 % of units."""
    generator, found = np.random.default_rng(7), []
    for _ in range(400):
        units = generator.random((math.ceil(shape[0] / unit[0]), math.ceil(shape[1] / unit[1]), shape[2])) < 0.3
        mask = units.repeat(unit[0], axis=0).repeat(unit[1], axis=1)[: shape[0], : shape[1]]
        found.append(skipping.measure(mask, SMALL).passes)
    return float(np.mean(found)), 4 * float(np.std(found)) / math.sqrt(len(found)) + 1e-4


@pytest.mark.parametrize("shape", EDGES)
@pytest.mark.parametrize(
    ("skipping", "unit"),
    [
        (Elements(barrier_tiles=4, sync_cycles=1, work_stealing_percent=0), (1, 1)),
        (Blocks(4, 8, compacts=False, pads=True), (4, 8)),
        (Blocks(4, 8, compacts=True, pads=True), (4, 8)),
        (Blocks(5, 3, compacts=False, pads=True), (5, 3)),
        (Blocks(5, 3, compacts=True, pads=True), (5, 3)),
    ],
    ids=repr,
)
def test_expectations_are_the_mean_over_masks(
    skipping: Skipping, unit: tuple[int, int], shape: tuple[int, int, int]
) -> None:
    """Monte Carlo within four standard errors (hardware/README.md, section 4), edges included."""
    mean, error = mean_passes(skipping, shape, unit)
    assert abs(mean - skipping.expect(shape, 0.3, SMALL).passes) <= error


@pytest.mark.parametrize("shape", [(19, 48, 3), (8, 32, 1), (3, 7, 2)])
def test_stolen_work_is_rounded_up_window_by_window(shape: tuple[int, int, int]) -> None:
    skipping = Elements(barrier_tiles=4, sync_cycles=0, work_stealing_percent=60)
    windows = math.ceil(shape[0] / 8) * math.ceil(math.ceil(shape[1] / 16) * shape[2] / 4)
    mean, error = mean_passes(skipping, shape, (1, 1))
    expected = skipping.expect(shape, 0.3, SMALL).passes
    assert expected - error <= mean <= expected + windows + error


@pytest.mark.parametrize("by_lane", [False, True])
@pytest.mark.parametrize("outputs", [False, True])
def test_expectations_of_mixtures_are_the_mean_over_masks(by_lane: bool, outputs: bool) -> None:  # noqa: FBT001
    """Groups are dense with probability 0.2, else two of four: density 0.6."""
    generator, shape = np.random.default_rng(3), (19, 40, 3)
    skipping: Skipping = NofM(2, 4, falls_back_by_lane=by_lane, is_transposable=False)
    tile = Tile(3, 16) if outputs else Tile(5, 16)
    if outputs:
        skipping = NofMOutputs(2, 4, falls_back_by_lane=by_lane)
    found, positions = [], []
    for seed in range(400):
        exact = two_of_four(seed, (19, 40, 3, 1)).reshape(19, 10, 4, 3)
        dense = generator.random((19, 10, 1, 3)) < 0.2
        mask = (exact | dense).reshape(shape)
        work = skipping.measure(mask.transpose(1, 0, 2) if outputs else mask, tile)
        found.append(work.passes)
        positions.append(work.positions)
    expected = skipping.expect((40, 19, 3) if outputs else shape, 0.6, tile)
    assert abs(np.mean(found) - expected.passes) <= 4 * np.std(found) / 20 + 1e-9
    assert abs(np.mean(positions) - expected.positions) <= 4 * np.std(positions) / 20 + 1e-9


def test_the_longest_of_two_coins() -> None:
    """Max of two draws of Binomial(2, 1/2): 1 x (4/16 + 4/16) + 2 x 7/16, by hand 1.375."""
    assert expected_largest(((2, 2),), 0.5) == pytest.approx(1.375)


@given(seeds, densities, st.integers(1, 8))
def test_perfect_balance_is_the_mean_and_order_is_not_free(seed: int, density: float, tiles: int) -> None:
    """Stealing everything takes the mean; permuting outputs keeps the number of ones, whatever the cycles."""
    mask = np.random.default_rng(seed).random((8, 16 * tiles, 1)) < density
    none, half, full = (Elements(tiles, 0, percent).measure(mask, SMALL) for percent in (0, 50, 100))
    assert full.passes == math.ceil(np.count_nonzero(mask) / 128)
    assert none.passes >= half.passes >= full.passes
    mixed = np.random.default_rng(seed).permutation(mask)
    assert Elements(tiles, 0, 0).measure(mixed, Tile(4, 16)).positions == none.positions


@given(seeds, st.integers(1, 2), st.integers(1, 2), st.sampled_from([1, 3]))
def test_elements_then_two_of_four_then_aligned_blocks(seed: int, k: int, c: int, kernel: int) -> None:
    """At equal density, 1/2, in every phase and so in training: the finer the zeros, the less they buy.

    By our model; the N:M mask must be transposable for BP, else its training speed-up may fall behind.
    """
    generator, layer = np.random.default_rng(seed), conv("layer", 64 * c, 8, 64 * k, kernel, 1, kernel // 2)
    shape = layer.weight_shape
    loose = generator.permutation(np.arange(layer.weights) % 2 == 0).reshape(shape)
    shifts = generator.integers(0, 4, (k * 16, c * 16, kernel, kernel)).repeat(4, axis=0).repeat(4, axis=1)
    rows, columns = np.arange(shape[0])[:, None, None, None], np.arange(shape[1])[None, :, None, None]
    both_ways = (rows + columns + shifts) % 4 < 2
    keep = generator.permutation(np.arange(4 * k * c * kernel**2) % 2 == 0).reshape(2 * k, 2 * c, kernel, kernel)
    blocks = keep.repeat(32, axis=0).repeat(32, axis=1)
    assert loose.sum() == both_ways.sum() == blocks.sum()
    cases = ((ELEMENT_CORE, loose), (NOFM_CORE, both_ways), (ALIGNED_CORE, blocks))
    for phase in Phase:
        costs = [cycles(layer, phase, machine, mask) for machine, mask in cases]
        assert costs[0] >= costs[1] >= costs[2]


@given(seeds, densities)
def test_dead_channels_make_a_smaller_layer(seed: int, density: float) -> None:
    layer, generator = conv("layer", 24, 6, 40, 3, 1, 1), np.random.default_rng(seed)
    outputs, inputs = generator.random(40) < density, generator.random(24) < 0.5
    assume(outputs.any() and inputs.any())
    mask = np.broadcast_to(outputs[:, None, None, None] & inputs[None, :, None, None], layer.weight_shape)
    smaller = replace(layer, out_channels=int(outputs.sum()), in_channels=int(inputs.sum()))
    for machine in (bare(PLAIN), bare(PLAIN, "array.skips_gates=false", "array.dataflow='systolic_os'")):
        part = living_part(layer, machine.array, State(Mask(mask)))
        assert part is not None
        for phase in Phase:
            cost = compute(part[0], phase, machine, 2, part[1])
            assert cost.cycles == compute(smaller, phase, machine, 2, DENSE_STATE).cycles
            assert needed_macs(layer, phase, 2, State(Mask(mask)))[1] == 2 * smaller.macs


@given(layers(), phases, st.floats(0, 1), st.floats(0, 1))
def test_gates(layer: LayerSpec, phase: Phase, keep: float, base: float) -> None:
    machine = bare(PLAIN)
    dense = compute(layer, phase, machine, 2, DENSE_STATE).cycles

    def gated(keep: float, base: float) -> float:
        return compute(layer, phase, machine, 2, State(gate=GateRate(keep, base))).cycles

    assert gated(1.0, base) == gated(keep, 1.0) == dense
    assert gated(0.0, base) == pytest.approx(base * dense)
    assert gated(keep, base) <= dense


def test_lock_step_opens_more_gates() -> None:
    """1 - (1 - 0.1)^(3 pixels x 2 groups) = 0.468559."""
    assert GateRate(0.1, 0.0, channels=32).computed_share(32, 3, 2) == pytest.approx(0.468559)
    assert GateRate(0.1, 0.0, channels=16).computed_share(32, 3, 1) == pytest.approx(0.468559)
    assert GateRate(0.1, 0.0).computed_share(6, 1, 1) == pytest.approx(0.468559)


@pytest.mark.parametrize("gathers", [False, True])
@given(keep=st.floats(0.01, 0.3), channels=st.sampled_from([1, 4, 16]))
def test_each_phase_waits_for_the_gates_of_its_own_pass(keep: float, channels: int, *, gathers: bool) -> None:
    """FP: 16 outputs; BP: a sum over 64; WU: 16 outputs' gradients, summed over 64 pixels unless these are gathered."""
    machine = bare(PLAIN, "array.rows=16", "array.columns=64", f"array.gathers_open_pixels={str(gathers).lower()}")
    layer, state = conv("layer", 64, 8, 64, 3, 1, 1), State(gate=GateRate(keep, 0.0, channels))
    together = {Phase.FP: 16 // channels, Phase.BP: 64 // channels, Phase.WU: 16 // channels * (1 if gathers else 64)}
    for phase, gates in together.items():
        whole, gated = (compute(layer, phase, machine, 2, item).cycles for item in (DENSE_STATE, state))
        assert gated / whole == pytest.approx(1 - (1 - keep) ** gates)


def test_inserted_zeros_are_executed() -> None:
    """A stride of 2 makes four times the products, on either dataflow."""
    layer = conv("layer", 32, 8, 32, 3, 2, 1)
    for flow in ("core", "systolic_ws"):
        changes = (PLAIN, "array.skips_gates=false", f"array.dataflow='{flow}'")
        found = [
            compute(layer, Phase.BP, bare(*changes, f"array.inserts_zeros={inserts}"), 2, DENSE_STATE).executed_macs
            for inserts in ("false", "true")
        ]
        assert found == [2 * layer.macs, 4 * 2 * layer.macs]


@given(seeds, st.integers(1, 9), st.integers(1, 7), densities, st.integers(1, 4), st.integers(1, 3))
def test_real_gates_wait_for_their_group(
    seed: int, channels: int, pixels: int, keep: float, outputs: int, together: int
) -> None:
    is_open = np.random.default_rng(seed).random((2, channels, pixels)) < keep
    gate = GateMask(is_open, 0.0)
    groups = [
        is_open[image, k : k + outputs, p : p + together].any()
        for image in range(2)
        for k in range(0, channels, outputs)
        for p in range(0, pixels, together)
    ]
    assert gate.computed_share(outputs, together, 1) == pytest.approx(np.mean(groups))
    assert gate.needed_share() == pytest.approx(is_open.mean())


@given(seeds, layers(), phases, st.floats(0, 1))
def test_skipped_images_leave_the_forward_pass_alone(seed: int, layer: LayerSpec, phase: Phase, skip: float) -> None:
    weights = Mask(random_mask(seed, layer, 0.5))
    whole, part = (
        compute(layer, phase, ELEMENT_CORE, 2, State(weights, gradient_skip=share)).cycles for share in (0.0, skip)
    )
    assert part == whole if phase is Phase.FP else part == pytest.approx(whole * (1 - skip))


@pytest.mark.parametrize(
    ("skipping", "shape", "words"),
    [
        (NOFM, (64, 6, 1, 1), "6 channels do not divide into groups of 4"),
        (ALIGNED, (64, 40, 1, 1), "do not divide into blocks of 32 x 32"),
        (ELEMENTS, (64, 32, 1, 1), "Give the mask of this layer"),
    ],
)
def test_what_does_not_fit_is_refused(skipping: str, shape: tuple[int, int, int, int], words: str) -> None:
    inputs = {6: 6, 40: 40, 32: 64}[shape[1]]
    layer = conv("layer", inputs, 4, 64, 1, 1, 0)
    with pytest.raises(HardwareError, match=words):
        cycles(layer, Phase.FP, bare(skipping), np.ones(shape, np.bool_))


@pytest.mark.parametrize("density", [-0.1, 1.1, math.nan])
def test_impossible_fractions_are_refused(density: float) -> None:
    for refused in (Density, lambda value: GateRate(value, 0.5), lambda value: State(gradient_skip=value)):
        with pytest.raises(HardwareError, match=r"must lie in \[0, 1\]"):
            refused(density)


def test_a_mask_of_numbers_is_refused() -> None:
    with pytest.raises(HardwareError, match="give booleans"):
        Mask(np.ones((4, 4, 1, 1)))  # type: ignore[arg-type]
