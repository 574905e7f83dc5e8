"""Laws of the whole step: H6, H11, H12; what the weight gradient may skip; schedules."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware import comparison, presets
from hardware.checks import HardwareError
from hardware.cost.cost import Cost
from hardware.cost.step import LAYER_PARTS, amdahl_limit, jobs, phase_cost, resolved, step
from hardware.network.layer import Part
from hardware.network.ramp import CubicRamp
from hardware.network.workload import Workload
from hardware.sparsity.gates import GateRate
from hardware.sparsity.state import Phase, State
from hardware.sparsity.weights import Density, Mask
from tests.unit.hardware.networks import ALIGNED, BITMAP, BYOL, ELEMENTS, SIMCLR, TRANSPOSABLE, bare, conv, network

CHIP = presets.machine("chip28nm")
ELEMENT = presets.machine("chip28nm", [ELEMENTS, BITMAP])
PAIR = Workload(
    name="pair",
    layers=(
        replace(conv("stem", 3, 8, 16, 3, 1, 1), is_first=True),
        conv("a", 16, 8, 32, 3, 2, 1),
        conv("b", 32, 4, 16, 3, 1, 1, reads="a"),
        replace(conv("head", 16, 1, 64, 1, 1, 0), part=Part.PROJECTOR),
        replace(conv("guess", 64, 1, 64, 1, 1, 0), part=Part.PREDICTOR),
    ),
    step=replace(BYOL, batch=4, predictor_passes=2, mask_update_period_steps=10, loss_macs=12345),
)
densities = st.floats(0.05, 0.95)


def with_step(**changes: Any) -> Workload:
    return replace(PAIR, step=replace(PAIR.step, **changes))


@given(densities, densities)
def test_parts_add_up(online: float, target: float) -> None:
    """Each part of the layers is the sum over layers and passes; heads where they belong; no hidden overlap."""
    states, others = comparison.uniform(PAIR, online), comparison.uniform(PAIR, target)
    found = step(PAIR, ELEMENT, states, others)
    online_states, target_states = resolved(PAIR, states), resolved(PAIR, others)
    for phase in Phase:
        alone = [
            phase_cost(layer, phase, ELEMENT, 4, state) for layer, state in zip(PAIR.layers, online_states, strict=True)
        ]
        assert found.parts[phase.value].cycles == pytest.approx(2 * sum(cost.cycles for cost in alone))
        assert found.parts[phase.value].joules == pytest.approx(2 * sum(cost.joules for cost in alone))
    forward = [
        phase_cost(layer, Phase.FP, ELEMENT, 4, state, is_kept=False).cycles
        for layer, state in zip(PAIR.layers[:-1], target_states, strict=False)
    ]
    assert found.parts["target FP"].cycles == pytest.approx(2 * sum(forward))
    assert found.total.cycles == pytest.approx(sum(cost.cycles for cost in found.parts.values()))


@given(densities)
def test_two_passes_cost_twice_one(density: float) -> None:
    states = comparison.uniform(PAIR, density)
    one, two = (step(with_step(online_passes=passes), ELEMENT, states, states).parts for passes in (1, 2))
    guess = replace(PAIR, layers=PAIR.layers[-1:], step=PAIR.step)  # the predictor's passes are its own
    alone = step(guess, ELEMENT, {}, {}).parts
    for name in ("FP", "BP", "WU"):
        assert two[name].cycles - one[name].cycles == pytest.approx(one[name].cycles - alone[name].cycles)


@given(st.floats(0.05, 0.3))
def test_a_tied_twin_is_trained_with_its_own_masks(density: float) -> None:
    states = comparison.uniform(PAIR, density)
    plain = with_step(target_passes=0, target_is_ema=False)
    twin = with_step(online_passes=1, twin_passes=1, target_passes=0, target_is_ema=False)
    same = [step(item, ELEMENT, states, states).parts["BP"].cycles for item in (plain, twin)]
    assert same[0] == pytest.approx(same[1])
    dense_twin = step(twin, ELEMENT, states, {}).parts["BP"].cycles
    assert dense_twin > same[1]


@given(densities, st.integers(1, 50))
def test_a_dense_weight_gradient_is_charged_at_its_share(density: float, period: int) -> None:
    states = comparison.uniform(PAIR, density)

    def wu(*, regrows: bool, is_dense: bool) -> float:
        workload = with_step(
            mask_update_period_steps=period, regrowth_needs_dense_gradient=regrows, weight_gradient_is_dense=is_dense
        )
        return step(workload, ELEMENT, states, states).parts["WU"].cycles

    masked, dense = wu(regrows=False, is_dense=False), wu(regrows=False, is_dense=True)
    assert wu(regrows=True, is_dense=False) == pytest.approx((1 - 1 / period) * masked + dense / period)
    assert dense == pytest.approx(step(PAIR, ELEMENT, {}, {}).parts["WU"].cycles)
    assert wu(regrows=True, is_dense=True) == pytest.approx(dense)


@given(densities, densities)
def test_no_step_beats_amdahl(online: float, target: float) -> None:
    """With dense weight gradients and a dense target the bounds of Amdahl hold; dimensions divide here."""
    work = network(replace(BYOL, weight_gradient_is_dense=True))
    machine = bare(ELEMENTS, "array.flattens_stem=true")
    states, others = comparison.uniform(work, online), comparison.uniform(work, target)
    dense, sparse = step(work, machine, {}, {}), step(work, machine, states, others)

    def layers(parts: dict[str, Cost]) -> float:
        return sum(parts[name].cycles for name in LAYER_PARTS)

    speed_up = layers(dense.parts) / layers(sparse.parts)
    assert speed_up <= amdahl_limit(work, states, others) < 3.997
    assert speed_up <= layers(dense.parts) / sparse.parts["WU"].cycles
    assert amdahl_limit(work, states, {}) < 2.0
    simclr = replace(work, step=replace(SIMCLR, weight_gradient_is_dense=True))
    assert amdahl_limit(simclr, states, others) < 2.997


@given(st.integers(0, 100), st.integers(1, 256))
def test_elements_then_two_of_four_then_aligned_blocks_in_a_whole_step(stealing: int, barrier: int) -> None:
    """Training speed-up at equal density, 1/2: element-wise <= transposable N:M <= aligned blocks, in expectation.

    The law needs dimensions that divide, and N:M along both axes: groups along inputs alone leave BP dense, give
    exactly 3 / (1/2 + 1 + 1/2) = 1.5, and fall behind whatever element-wise hardware passes 1.5.
    """
    work = Workload(
        name="square",
        layers=(conv("a", 64, 8, 64, 3, 1, 1), conv("b", 64, 8, 128, 3, 2, 1)),
        step=replace(SIMCLR, batch=4),
    )
    states = comparison.uniform(work, 0.5)
    element = f'skipping={{kind="element",barrier_tiles={barrier},sync_cycles=0,work_stealing_percent={stealing}}}'

    def speed_up(skipping: str) -> float:
        dense, sparse = (step(work, bare(skipping), each, each) for each in ({}, states))
        return sum(dense.parts[name].cycles for name in LAYER_PARTS) / sum(
            sparse.parts[name].cycles for name in LAYER_PARTS
        )

    both_ways, blocks = speed_up(TRANSPOSABLE), speed_up(ALIGNED)
    assert speed_up(element) <= both_ways * (1 + 1e-9)
    assert both_ways <= blocks * (1 + 1e-9)
    assert blocks == pytest.approx(2.0)
    one_way = speed_up(TRANSPOSABLE.replace("is_transposable=true", "is_transposable=false"))
    assert one_way == pytest.approx(1.5)
    assert (speed_up(element) > one_way) or stealing < 100


def test_filters_shrink_their_consumer_too() -> None:
    """Half the filters of `a`: half its work, and half that of `b`, which alone reads it."""
    mask = np.ones((32, 16, 3, 3), np.bool_)
    mask[1::2] = False
    for weights in (Mask(mask), Density(1.0, outputs=0.5)):
        found = resolved(PAIR, {"a": State(weights)})
        assert found[2].weights.alive(16, 32) == (16, 16)
        assert found[3].weights.alive(64, 16) == (64, 16)
        work = jobs(PAIR, {"a": State(weights)}, {})
        assert sum(times for job, times in work.items() if job.phase is Phase.FP) == 2 * 5 + 2 * 4


def test_a_mask_behind_removed_filters_loses_its_columns() -> None:
    filters, weights = np.ones((32, 16, 3, 3), np.bool_), np.ones((16, 32, 3, 3), np.bool_)
    filters[:8] = False
    found = resolved(PAIR, {"a": State(Mask(filters)), "b": State(Mask(weights))})
    assert found[2].weights.ones((16, 32, 9)) == 16 * 24 * 9


@given(densities)
def test_gates_help_only_a_machine_that_skips_them(density: float) -> None:
    states = {"a": State(gate=GateRate(density, 0.25)), "b": State(gate=GateRate(density, 0.25))}
    deaf = replace(CHIP, array=replace(CHIP.array, skips_gates=False))
    assert step(PAIR, deaf, states, {}).parts["FP"].cycles == step(PAIR, deaf, {}, {}).parts["FP"].cycles
    assert step(PAIR, CHIP, states, {}).parts["FP"].cycles <= step(PAIR, CHIP, {}, {}).parts["FP"].cycles


def test_the_ledger_of_overheads_by_hand() -> None:
    """1,000 weights' worth of traffic is easy; here those of PAIR, byte by byte, at 8 bytes per cycle."""
    parts = step(PAIR, CHIP, comparison.uniform(PAIR, 0.5), {}).parts
    weights = sum(layer.weights for layer in PAIR.layers)
    averaged = weights - 64 * 64
    pruned = 32 * 16 * 9 + 16 * 32 * 9
    # Read back what WU wrote in two passes: half of the gradients of pruned layers.
    assert parts["optimizer"].dram_bytes == weights * (2 * 2 + 2 * 2 + 1 + 2) - 2 * pruned // 2
    assert parts["moving average"].dram_bytes == averaged * 7
    assert parts["moving average"].cycles == averaged * 7 / 8
    assert parts["mask update"].dram_bytes == pytest.approx((pruned * 2 + pruned / 8) / 10)
    assert parts["loss"].cycles == 13  # 12,345 / 1,024
    assert parts["batch norm"].dram_bytes == 0  # everything fits
    passes = [(16 * 64, 12), (32 * 16, 12), (16 * 16, 12), (64, 12), (64, 8)]  # 4 x 2 trained, 2 x 2 forward only
    assert parts["batch norm"].cycles == 4 * sum(outputs * times for outputs, times in passes) / 32
    assert step(PAIR, CHIP, {}, {}).parts["mask update"] == Cost()
    assert step(with_step(target_is_ema=False), CHIP, {}, {}).parts["moving average"] == Cost()


def test_skipped_gradients_spare_normalisation_its_backward_passes() -> None:
    """Two passes in FP remain of four; the optimizer still touches every weight."""
    states = {layer.name: State(gradient_skip=0.5) for layer in PAIR.layers}
    work = with_step(target_passes=0, target_is_ema=False)
    whole, part = (step(work, CHIP, each, each).parts for each in ({}, states))
    assert part["batch norm"].cycles == pytest.approx(0.75 * whole["batch norm"].cycles)
    assert part["optimizer"] == whole["optimizer"]


@pytest.mark.parametrize("preset", presets.names())
def test_a_density_of_filters_promises_no_more_than_their_masks(preset: str) -> None:
    """Where the machine removes filters the two agree; where it cannot, zeros are no N:M groups and no blocks."""
    work = Workload(
        name="chain",
        layers=(conv("a", 64, 8, 128, 3, 1, 1), conv("b", 128, 8, 128, 3, 1, 1, reads="a")),
        step=replace(SIMCLR, batch=8),
    )
    machine = presets.machine(preset)
    generator = np.random.default_rng(0)
    density = comparison.uniform(work, 0.5, filters=True)
    masks = {}
    for layer in work.layers:
        kept = np.zeros(layer.weight_shape, np.bool_)
        kept[generator.permutation(128)[:64]] = True
        masks[layer.name] = State(Mask(kept))
    promised, found = (comparison.rows(work, machine, each, each)["step"].speed_up for each in (density, masks))
    assert promised <= found * (1 + 1e-9)
    if machine.array.removes_filters:
        assert promised == pytest.approx(found, rel=0.01)


def test_at_least_one_filter_is_left() -> None:
    assert Density(1.0, outputs=0.01).alive(16, 16) == (1, 16)
    assert Density(1.0, outputs=0.0).alive(16, 16) == (0, 16)


def test_a_predictor_has_passes_of_its_own() -> None:
    """SimSiam: one pass of each branch, and both views are predicted."""
    work = with_step(online_passes=1, twin_passes=1, target_passes=0, target_is_ema=False, predictor_passes=2)
    found = jobs(work, {}, {})
    assert {job.phase: times for job, times in found.items() if job.index == 4} == dict.fromkeys(Phase, 2)
    with pytest.raises(HardwareError, match="a predictor, but predictor_passes is 0"):
        with_step(predictor_passes=0)


def test_masks_of_another_network_are_refused() -> None:
    with pytest.raises(HardwareError, match="has no layer conv9"):
        step(PAIR, CHIP, {"conv9": State(Density(0.5))}, {})


@given(densities, st.floats(0, 1), st.floats(0, 1))
def test_a_ramp_falls_from_its_start_to_its_end(final: float, one: float, other: float) -> None:
    start, end = sorted((one, other))
    ramp = CubicRamp(1.0, final, start, end)
    samples = ramp.samples(50)
    assert samples == sorted(samples, reverse=True)
    assert all(final <= density <= 1.0 for density in samples)
    assert ramp.density(1.0) == final
    if start > 0:
        assert ramp.density(0.0) == 1.0
    middle = CubicRamp(0.9, 0.1, 0.0, 1.0).density(0.5)
    assert middle == pytest.approx(0.1 + 0.8 / 8)


@given(densities)
def test_an_average_lies_between_its_steps(density: float) -> None:
    steps = [step(PAIR, CHIP, comparison.uniform(PAIR, value), {}) for value in (1.0, density)]
    row = comparison.beside(steps[0], comparison.average(steps))["step"]
    assert row.sparse.cycles == pytest.approx(sum(item.total.cycles for item in steps) / 2)
    assert row.speed_up <= comparison.beside(*steps)["step"].speed_up or row.speed_up == pytest.approx(1.0, abs=0.05)
