"""Dense cycles and MACs against numbers that others found: hardware/README.md, sections 2 and 8. No tolerance."""

import math
from dataclasses import replace

import pytest

from hardware import presets
from hardware.cost.compute import compute, needed_macs
from hardware.cost.dense import Gemm, gemm_cycles, gemms
from hardware.cost.step import amdahl_limit, phase_cost
from hardware.machine import Dataflow
from hardware.network.layer import LayerSpec
from hardware.network.workload import StepSpec
from hardware.sparsity.state import DENSE_STATE, Phase, State
from hardware.sparsity.weights import Density
from tests.unit.hardware.networks import BYOL, SIMCLR, bare, conv, network, resnet18

LAYERS = resnet18()
BY_NAME = {layer.name: layer for layer in LAYERS}
CONVOLUTIONS = [layer for layer in LAYERS if layer.name != "fc"]


def cycles(layer: LayerSpec, phase: Phase, *changes: str) -> float:
    return compute(layer, phase, bare(*changes), 1, DENSE_STATE).cycles


def test_the_layer_table() -> None:
    assert len(LAYERS) == 21
    assert sum(layer.weights for layer in CONVOLUTIONS) == 11_159_232
    assert sum(layer.out_channels * layer.out_pixels for layer in CONVOLUTIONS) == 614_400
    assert BY_NAME["conv1"].macs == 1_769_472
    assert BY_NAME["layer3.0.downsample.0"].macs == 2_097_152


@pytest.mark.parametrize(
    ("padding", "expected"),
    [(1, (555_422_720, 553_653_248, 555_422_720)), (2, (703_565_568, 701_568_000, 703_565_568))],
)
def test_macs_of_each_phase_with_both_stems(padding: int, expected: tuple[int, ...]) -> None:
    sums = [sum(needed_macs(layer, phase, 1, DENSE_STATE)[0] for layer in resnet18(padding)) for phase in Phase]
    assert tuple(sums) == expected


def test_the_roofline() -> None:
    def least(phase: Phase) -> int:
        return sum(-(-needed_macs(layer, phase, 1, DENSE_STATE)[0] // 1024) for layer in LAYERS)

    assert [least(phase) for phase in Phase] == [542_405, 540_677, 542_405]


@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=lambda layer: layer.name)
def test_the_core_equals_zigzag(layer: LayerSpec) -> None:
    tiles = math.ceil(layer.in_channels / 32) * math.ceil(layer.out_channels / 32)
    assert cycles(layer, Phase.FP) == tiles * layer.out_pixels * layer.kernel


def scale_sim(flow: str, m: int, n: int, k: int) -> int:
    """Reported cycles + 1 of SCALE-Sim 3.0.0 on 32 x 32 (its closed form, without the -1)."""
    if flow == "systolic_os":
        return math.ceil(m / 32) * math.ceil(n / 32) * (k + 62)
    return math.ceil(k / 32) * math.ceil(n / 32) * (32 + m + 62)


@pytest.mark.parametrize("flow", ["systolic_os", "systolic_ws"])
@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=lambda layer: layer.name)
def test_the_systolic_arrays_equal_scale_sim(layer: LayerSpec, flow: str) -> None:
    k, c, taps = layer.out_channels, layer.in_channels, layer.kernel
    products = {
        Phase.FP: (layer.out_pixels, k, c * taps),
        Phase.BP: (layer.in_pixels, c, k * taps),
        Phase.WU: (k, c * taps, layer.out_pixels),
    }
    array = replace(presets.machine("systolic32").array, dataflow=Dataflow(flow), inserts_zeros=True)
    machine = replace(presets.machine("systolic32"), array=array)
    for phase, product in products.items():
        expected = 0 if phase is Phase.BP and layer.is_first else scale_sim(flow, *product)
        assert compute(layer, phase, machine, 1, DENSE_STATE).cycles == expected


def test_scale_sims_published_example() -> None:
    """Its report for conv1, weights resident, is 2,235 (hardware/README.md, section 2)."""
    array = presets.machine("systolic32").array
    assert gemm_cycles(array, Gemm(1024, 64, 27)) - 1 == 2_235


def test_inserted_zeros_cost_a_third_more_over_the_network() -> None:
    naive = sum(
        gemm.m * gemm.n * gemm.k for layer in LAYERS[1:] for gemm in gemms(layer, Phase.BP, 1, inserts_zeros=True)
    )
    exact = sum(
        gemm.m * gemm.n * gemm.k for layer in LAYERS[1:] for gemm in gemms(layer, Phase.BP, 1, inserts_zeros=False)
    )
    assert exact == 553_653_248
    assert round(naive / exact, 2) == 1.34
    layer = BY_NAME["layer2.0.conv1"]
    assert cycles(layer, Phase.BP, "array.inserts_zeros=true") == 4 * cycles(layer, Phase.BP)


def test_a_flat_stem_wastes_fewer_lanes() -> None:
    stem = BY_NAME["conv1"]
    assert cycles(stem, Phase.FP) == 18_432
    assert cycles(stem, Phase.FP, "array.flattens_stem=true") == 2_048  # 27 of 32 lanes; all of them would need 1,728


def test_weights_bound_the_last_stage_at_batch_one() -> None:
    layer = BY_NAME["layer4.0.conv2"]
    machine = presets.machine("chip28nm", ["array.fill_cycles=0"])
    cost = phase_cost(layer, Phase.FP, machine, 1, DENSE_STATE)
    assert 294_912 <= cost.cycles <= 1.03 * 294_912
    assert compute(layer, Phase.FP, machine, 1, DENSE_STATE).cycles * 8 == 294_912


def uniform(density: float) -> dict[str, State]:
    return {layer.name: State(Density(density)) for layer in LAYERS}


@pytest.mark.parametrize(
    ("online", "target", "simclr", "byol"),
    [
        (0.0, 0.0, (2.997, None), (3.997, None)),
        (0.5, 0.5, (1.50, 2.00), (1.60, 2.00)),
        (0.2, 0.5, (2.14, 5.00), (2.10, 3.64)),
        (0.2, 0.2, (2.14, 5.00), (2.50, 5.00)),
        (0.1, 0.1, (2.50, 10.0), (3.08, 10.0)),
        (0.05, 0.05, (2.72, 20.0), (3.48, 20.0)),
        (0.5, 1.0, (1.50, 2.00), (1.33, 1.60)),
        (0.2, 1.0, (2.14, 5.00), (1.67, 2.50)),
        (0.1, 1.0, (2.50, 10.0), (1.82, 3.08)),
        (0.05, 1.0, (2.72, 20.0), (1.90, 3.48)),
    ],
)
def test_the_amdahl_table(
    online: float, target: float, simclr: tuple[float, float | None], byol: tuple[float, float | None]
) -> None:
    def limit(step: StepSpec, *, is_dense: bool) -> float:
        workload = network(replace(step, weight_gradient_is_dense=is_dense))
        return amdahl_limit(workload, uniform(online), uniform(target))

    for step, (dense, skipped) in ((SIMCLR, simclr), (BYOL, byol)):
        assert limit(step, is_dense=True) == pytest.approx(dense, abs=0.0051 if online else 0.00051)
        if skipped is not None:
            assert limit(step, is_dense=False) == pytest.approx(skipped, abs=0.0051)


def test_two_of_four_without_the_weight_gradient() -> None:
    half = uniform(0.5)
    fp, bp, wu = (sum(needed_macs(layer, phase, 1, DENSE_STATE)[0] for layer in LAYERS) for phase in Phase)
    halved = sum(needed_macs(layer, Phase.FP, 1, half[layer.name])[1] for layer in LAYERS)
    assert round((fp + bp + wu) / (halved + bp + wu), 3) == 1.200
    assert round((fp + bp + wu) / (halved + bp / 2 + wu), 3) == 1.500
    assert round((fp + bp + wu) / ((fp + bp) / 4 + wu), 3) == 1.999  # 2:8


@pytest.mark.parametrize("size", [5, 6, 7])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (1, 2, 0), (5, 3, 2), (3, 1, 0), (2, 2, 0)])
def test_the_decomposition_meets_every_input_with_every_tap_that_reaches_it(
    size: int, kernel: int, stride: int, padding: int
) -> None:
    """Counted position by position; border positions count as if the error map went on with zeros."""
    layer = conv("layer", 2, size, 3, kernel, stride, padding)
    one = sum((place + padding - tap) % stride == 0 for place in range(size) for tap in range(kernel))
    products = list(gemms(layer, Phase.BP, 4, inserts_zeros=False))
    assert sum(gemm.m * gemm.k for gemm in products) == 4 * one**2 * 3
    assert all(gemm.n == 2 for gemm in products)
