"""The model against machines that are simulated cycle by cycle, values included (law H18)."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hardware import presets
from hardware.cost.dense import Gemm, gemm_cycles
from hardware.machine import Dataflow
from hardware.skipping.base import Tile
from hardware.skipping.blocks import Blocks
from hardware.skipping.elements import Elements
from hardware.skipping.n_of_m import NofM
from tests.unit.hardware import toys
from tests.unit.hardware.networks import replace_array

seeds = st.integers(0, 2**32 - 1)
densities = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0])


def draw(seed: int, shape: tuple[int, int, int], density: float) -> tuple[toys.Integers, toys.Integers]:
    generator = np.random.default_rng(seed)
    weights = generator.integers(1, 9, shape) * (generator.random(shape) < density)
    return weights, generator.integers(-9, 9, shape[1:])


def product(weights: toys.Integers, inputs: toys.Integers) -> list[int]:
    return [int(value) for value in np.einsum("kct,ct->k", weights, inputs)]


@given(seeds, st.integers(1, 4), st.integers(1, 9), st.integers(1, 4), densities, st.integers(1, 4), st.integers(1, 5))
def test_elements(seed: int, rows: int, channels: int, kernel: int, density: float, lanes: int, barrier: int) -> None:
    weights, inputs = draw(seed, (rows, channels, kernel), density)
    cycles, sums = toys.elements(weights, inputs, lanes, barrier)
    skipping = Elements(barrier_tiles=barrier, sync_cycles=0, work_stealing_percent=0)
    work = skipping.measure(weights != 0, Tile(rows, lanes))
    assert list(sums) == product(weights, inputs)
    assert work.passes == cycles
    assert work.positions == int(np.count_nonzero(weights))


@given(seeds, st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), densities, st.integers(1, 6), st.integers(1, 3))
def test_compacted_blocks(
    seed: int, bands: int, blocks: int, kernel: int, density: float, lanes: int, height: int
) -> None:
    weights, inputs = draw(seed, (bands * height, blocks * 2, kernel), density**6 if density < 1 else 1)
    cycles, sums = toys.compacted_blocks(weights, inputs, lanes, (height, 2))
    work = Blocks(height, 2, compacts=True, pads=False).measure(weights != 0, Tile(bands * height, lanes))
    assert list(sums) == product(weights, inputs)
    assert work.passes == cycles


@given(seeds, st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), densities, st.booleans())
def test_n_of_m(seed: int, rows: int, tiles: int, kernel: int, density: float, by_lane: bool) -> None:  # noqa: FBT001
    weights, inputs = draw(seed, (rows, tiles * 8, kernel), density)
    cycles, sums = toys.n_of_m(weights, inputs, 8, (2, 4), by_lane=by_lane)
    work = NofM(2, 4, falls_back_by_lane=by_lane, is_transposable=False).measure(weights != 0, Tile(rows, 8))
    assert list(sums) == product(weights, inputs)
    assert work.passes == cycles


@given(seeds, st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_systolic_tiles(seed: int, m: int, n: int, k: int) -> None:
    generator = np.random.default_rng(seed)
    left, right = generator.integers(-9, 9, (m, k)), generator.integers(-9, 9, (k, n))
    array = presets.machine("systolic32").array
    cycles, sums = toys.output_stationary(left, right)
    assert (sums == left @ right).all()
    assert cycles == gemm_cycles(replace_array(array, Dataflow.SYSTOLIC_OS, m, n), Gemm(m, n, k))
    cycles, sums = toys.weight_stationary(left, right)
    assert (sums == left @ right).all()
    assert cycles == gemm_cycles(replace_array(array, Dataflow.SYSTOLIC_WS, k, n), Gemm(m, n, k))
