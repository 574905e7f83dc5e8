"""A third opinion on dense cycles, where it is installed (Python 3.12 on): AccelForge's mapper on a 32 x 32 core."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from hardware.cost.compute import compute
from hardware.cost.dense import gemms
from hardware.network.layer import LayerSpec
from hardware.sparsity.state import DENSE_STATE, Phase
from tests.unit.hardware.networks import bare, resnet18

IMAGES = 2  # so that every sum over pixels fills the array
MACHINE = """
arch:
  nodes:
  - !Memory
    {name: DRAM, size: inf, leak_power: 0, area: 0, tensors: {keep: All}, actions: [
      {name: read, energy: 1, throughput: inf, latency: 0}, {name: write, energy: 1, throughput: inf, latency: 0}]}
  - !Compute
    {name: MAC, leak_power: 0, area: 0, actions: [{name: compute, energy: 1, throughput: 1, latency: 0}], spatial: [
      {name: rows, fanout: 32, loop_bounds: [{expression: "t|s", operator: "==", value: 1}]},
      {name: columns, fanout: 32, loop_bounds: [{expression: "t|o", operator: "==", value: 1}]}]}
"""
PRODUCT = """
workload:
  iteration_space_shape: {t: 0 <= t < {{T}}, s: 0 <= s < {{S}}, o: 0 <= o < {{O}}}
  bits_per_value: {All: 8}
  einsums:
  - name: Product
    tensor_accesses:
    - {name: I, projection: [t, s]}
    - {name: W, projection: [s, o]}
    - {name: R, projection: [t, o], output: True}
    renames: {weight: W, input: I, output: R}
"""


def product(layer: LayerSpec, phase: Phase) -> tuple[int, int, int]:
    """Return what is one after the other, what is summed over columns, and the outputs on rows."""
    c, k = layer.in_channels, layer.out_channels
    if phase is Phase.WU:
        return c * layer.kernel, IMAGES * layer.out_pixels, k
    summed, outputs = (c, k) if phase is Phase.FP else (k, c)
    steps = sum(each.m * each.k // summed for each in gemms(layer, phase, IMAGES, inserts_zeros=False))
    return steps, summed, outputs


def test_the_core_equals_accelforge_in_every_phase_of_every_layer(tmp_path: Path) -> None:
    af: Any = pytest.importorskip("accelforge", reason="an optional oracle")
    mapper: Any = importlib.import_module("accelforge.mapper.FFM.main")
    for name, text in (("machine.yaml", MACHINE), ("product.yaml", PRODUCT)):
        (tmp_path / name).write_text(text)
    af.set_n_parallel_jobs(1)
    cycles: dict[tuple[int, int, int], float] = {}
    for layer in resnet18():
        for phase in Phase:
            if phase is Phase.BP and layer.is_first:
                continue
            key = steps, summed, outputs = product(layer, phase)
            if key not in cycles:
                spec = af.Spec.from_yaml(
                    tmp_path / "machine.yaml",
                    tmp_path / "product.yaml",
                    jinja_parse_data={"T": steps, "S": summed, "O": outputs},
                )
                spec.mapper.metrics = af.Metrics.LATENCY
                found = mapper.map_workload_to_arch(spec, print_progress=False, eval_in_detail=False)
                cycles[key] = float(found.data["Total<SEP>latency"].iloc[0])
            ours = compute(layer, phase, bare(), IMAGES, DENSE_STATE).cycles
            assert ours == cycles[key], f"{layer.name} {phase}: {ours} cycles here, {cycles[key]} there"
