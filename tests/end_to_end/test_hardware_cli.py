"""The command line of ``hardware``, as a user calls it."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardware.__main__ import main
from hardware.cost.cost import Cost
from hardware.cost.step import phase_cost
from tests.unit.hardware.networks import BYOL, network

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(name="traced")
def fixture_traced(tmp_path: Path) -> str:
    path = tmp_path / "resnet18.json"
    path.write_text(network(BYOL).text, encoding="utf-8")
    return str(path)


def call(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(arguments) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def numbers(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(call(capsys, *arguments, "--json"))


def test_a_fresh_process_needs_nothing_heavy() -> None:
    code = "import sys, hardware.__main__; print({'torch', 'scipy', 'lightly', 'bench', 'methods'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    command = ["-m", "hardware", "gemm", "--dataflow", "systolic_ws", "-M", "1024", "-N", "64", "-K", "27", "--json"]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["cycles"] == 2_236


@pytest.mark.parametrize(("flow", "cycles"), [("core", 2_048), ("systolic_os", 5_696), ("systolic_ws", 2_236)])
def test_gemm(capsys: pytest.CaptureFixture[str], flow: str, cycles: int) -> None:
    arguments = ("gemm", "--dataflow", flow, "--rows", "32", "--columns", "32", "-M", "1024", "-N", "64", "-K", "27")
    assert numbers(capsys, *arguments)["cycles"] == cycles
    assert "[cycles]" in call(capsys, *arguments)


def test_step(capsys: pytest.CaptureFixture[str], traced: str) -> None:
    arguments = ("step", "--preset", "chip28nm", "--workload", traced, "--batch", "8", "--density", "0.2")
    found = numbers(capsys, *arguments)
    assert (found["workload"], found["batch_images"]) == (network(BYOL).name, 8)
    assert found["cycles"] == sum(part["cycles"] for name, part in found["parts"].items() if name != "step")
    assert found["seconds"] == found["cycles"] / 400e6
    table = call(capsys, *arguments)
    heading = table.splitlines()[0]
    assert heading.count("[") == heading.count("]") == 8  # a unit in every column of numbers
    for words in ("batch 8 images", "Published:", "Assumed (ours):", "Not modelled:"):
        assert words in table


def test_a_run_costs_more_than_its_last_step(capsys: pytest.CaptureFixture[str], traced: str) -> None:
    arguments = ("step", "--preset", "chip28nm", "--workload", traced, "--batch", "8", "--density", "0.2")
    last, run = (
        numbers(capsys, *arguments),
        numbers(capsys, *arguments, "--ramp", "0.7", "0.3", "0.68", "--points", "9"),
    )
    assert last["cycles"] < run["cycles"] < run["parts"]["step"]["dense_cycles"]


def test_masks_of_a_run(capsys: pytest.CaptureFixture[str], traced: str, tmp_path: Path) -> None:
    """A file with one half-pruned layer, the other kept whole; the target as it was."""
    masks: dict[str, Any] = {}
    for branch in ("online", "target"):
        for layer in network().layers[1:3]:
            kept = np.ones(layer.weights, np.bool_)
            if branch == "online" and layer.name == "layer1.0.conv1":
                kept.reshape(layer.weight_shape)[:, :32] = False
            masks[f"final/{branch}/{layer.name}"] = np.packbits(kept)
    path = tmp_path / "masks.npz"
    np.savez(path, **masks)
    arguments = ("--preset", "chip28nm", "--workload", traced, "--batch", "8", "--masks", str(path))
    found = numbers(capsys, "step", *arguments)["parts"]
    assert found["target FP"]["speed_up"] == 1.0
    assert found["FP"]["macs"] - found["FP"]["effective_macs"] == 2 * 8 * 37_748_736 / 2
    layers = numbers(capsys, "layer", *arguments)["layers"]
    assert layers["layer1.0.conv1 FP"]["speed_up"] == pytest.approx(2, rel=1e-3)
    assert layers["layer1.0.conv2 FP"]["speed_up"] == 1.0
    for extra, words in (
        (("--point", "point9"), "no masks point9/online/*; its points are final"),
        (("--density", "0.5"), "--masks with densities"),
    ):
        assert words in call(capsys, "step", *arguments, *extra, code=2)
    assert "--ramp with --masks" in call(capsys, "step", *arguments, "--ramp", "1", "0", "1", code=2)
    wrong: dict[str, Any] = {"final/online/conv1": np.zeros(3, np.uint8)}
    np.savez(path, **wrong)
    assert "cannot hold 1728 packed weights" in call(capsys, "step", *arguments, code=2)
    path.write_bytes(b"nothing")
    assert "Give a masks.npz of a run" in call(capsys, "step", *arguments, code=2)


def test_explain_can_be_checked_with_a_pencil(capsys: pytest.CaptureFixture[str], traced: str) -> None:
    base = ("layer", "--workload", traced, "--batch", "1", "--set", "array.fill_cycles=0", "--preset")
    text = call(capsys, *base, "chip28nm", "--explain", "layer4.0.conv2", "FP")
    assert "passes left: 2,304.00" in text  # 16 x 16 tiles x 9
    assert "array cycles: passes x 16 x" in text
    assert "= 36,864.0" in text
    assert "+ transposition 0 = 2,375,680" in text  # 2,359,296 weights, 8,192 inputs, 8,192 outputs
    layers = numbers(capsys, *base, "chip28nm")["layers"]
    energy = next(line for line in text.splitlines() if line.startswith("energy: 37,748,736.0 executed MACs x 0.3 pJ"))
    assert "2,375,680.0 bytes of DRAM x 160 pJ" in energy
    assert float(energy.split()[-2]) == pytest.approx(1e3 * layers["layer4.0.conv2 FP"]["joules"], abs=1e-6)
    text = call(capsys, *base, "systolic32", "--explain", "layer2.0.conv1", "BP")
    assert text.count("product M = 256, N = 64") == 4  # a 3 x 3 kernel at stride 2 falls into four
    assert "computes nothing" in call(capsys, *base, "chip28nm", "--explain", "conv1", "BP", code=2)
    assert "choose from FP, BP, WU" in call(capsys, *base, "chip28nm", "--explain", "conv1", "XY", code=2)


def test_layers_add_up_to_the_step(capsys: pytest.CaptureFixture[str], traced: str) -> None:
    """Filters that go take their consumers' inputs along, layer by layer too."""
    arguments = ("--preset", "chip28nm", "--workload", traced, "--batch", "8", "--density", "0.5", "--filters")
    parts = numbers(capsys, "step", *arguments)["parts"]
    layers = numbers(capsys, "layer", *arguments)["layers"]
    for phase in ("FP", "BP", "WU"):
        alone = sum(row["cycles"] for name, row in layers.items() if name.endswith(" " + phase))
        assert parts[phase]["cycles"] == pytest.approx(2 * alone)  # BYOL passes the online branch twice
    dense = numbers(capsys, "layer", *arguments, "--branch", "target", "--target-density", "1")["layers"]
    assert {row["speed_up"] for row in dense.values()} == {1.0}
    assert "without --branch target" in call(capsys, "layer", *arguments, "--target-density", "1", code=2)


def test_explain_shows_what_decides(capsys: pytest.CaptureFixture[str], traced: str) -> None:
    base = ("layer", "--workload", traced, "--batch", "1", "--preset", "chip28nm", "--explain", "layer4.0.conv2", "FP")
    text = call(capsys, *base)
    assert "the slowest counts: DRAM" in text
    assert "shares: trained images 1, work that gates need 1" in text
    assert "Leave one of them out" in call(capsys, *base, "--json", code=2)


def test_json_is_json(capsys: pytest.CaptureFixture[str], traced: str) -> None:
    """At density 0 a ratio of something to nothing is null, never Infinity."""
    arguments = ("layer", "--preset", "element_core", "--workload", traced, "--batch", "1", "--density", "0", "--json")
    text = call(capsys, *arguments)
    assert "Infinity" not in text
    assert json.loads(text)["layers"]["layer1.0.conv1 FP"]["macs_reduction"] is None


def test_a_changed_machine_says_so(capsys: pytest.CaptureFixture[str], traced: str) -> None:
    arguments = ("step", "--preset", "chip28nm", "--workload", traced, "--batch", "1")
    assert "Changed: array.rows=16." in call(capsys, *arguments, "--set", "array.rows=16")
    assert "Changed:" not in call(capsys, *arguments)


def test_inline_tables_can_be_swept(capsys: pytest.CaptureFixture[str], traced: str) -> None:
    axis = "skipping={rows=8,columns=8},{rows=32,columns=32}"
    arguments = ("sweep", "--preset", "chip28nm", "--workload", traced, "--batch", "1", "--densities", "0.5")
    found = numbers(capsys, *arguments, "--vary", axis)["configurations"]
    assert [item["changes"] for item in found] == [
        ["skipping={rows=8,columns=8}"],
        ["skipping={rows=32,columns=32}"],
    ]


def test_a_ramp_never_leaves_the_densities(capsys: pytest.CaptureFixture[str], traced: str) -> None:
    arguments = ("step", "--preset", "chip28nm", "--workload", traced, "--density", "0.5", "--target-density", "0.1")
    assert "--ramp with --target-density 0.1" in call(capsys, *arguments, "--ramp", "1", "0", "1", code=2)


def test_broken_files_are_errors(capsys: pytest.CaptureFixture[str], traced: str, tmp_path: Path) -> None:
    empty, array, text = tmp_path / "masks.npz", tmp_path / "array.npz", tmp_path / "latin.json"
    empty.touch()
    with array.open("wb") as file:
        np.save(file, np.zeros(3))
    text.write_bytes(b"\xff\xfe")
    base = ("step", "--preset", "chip28nm", "--workload")
    for path in (empty, array):
        assert "Give a masks.npz of a run" in call(capsys, *base, traced, "--masks", str(path), code=2)
    assert "Give the path of a traced workload" in call(capsys, *base, str(text), code=2)
    for change, words in (('array.dataflow=["core"]', "must be one of"), ('skipping={kind=["x"]}', "choose from")):
        assert words in call(capsys, *base, traced, "--set", change, code=2)


def test_utilisation_counts_what_is_needed_and_no_more(capsys: pytest.CaptureFixture[str], traced: str) -> None:
    """Dense work over sparse cycles would pass 1, as SCALE-Sim's sparse reports do."""
    base = ("layer", "--workload", traced, "--batch", "1", "--preset", "chip28nm", "--density", "0.25")
    text = call(capsys, *base, "--explain", "layer4.0.conv2", "FP")
    (line,) = (line for line in text.splitlines() if line.startswith("utilisation: "))
    assert line.startswith("utilisation: 9,437,184.0 / (")  # a quarter of 37,748,736
    assert 0.5 < float(line.rpartition("= ")[2]) <= 1.0


def test_sweep(capsys: pytest.CaptureFixture[str], traced: str) -> None:
    arguments = ("sweep", "--preset", "chip28nm", "--workload", traced, "--densities", "1", "0.1")
    axes = ("--vary", "array.rows=16,32", "--vary", "memory.dram_bandwidth=8,64")
    found = numbers(capsys, *arguments, *axes)["configurations"]
    assert len(found) == 2 * 2 * 2
    assert {item["speed_up"] for item in found if item["density"] == 1.0} == {1.0}
    assert "array.rows=16 memory.dram_bandwidth=8 density=0.1" in call(capsys, *arguments, *axes)
    assert "write KEY=VALUE,VALUE" in call(capsys, *arguments, "--vary", "array.rows", code=2)


def test_what_cannot_be_is_refused(capsys: pytest.CaptureFixture[str], traced: str) -> None:
    step = ("step", "--workload", traced, "--preset")
    assert "choose from chip28nm, element_core, nm_core" in call(capsys, *step, "tpu", code=2)
    assert "there is no entry colour" in call(capsys, *step, "chip28nm", "--set", "array.colour=1", code=2)
    assert "choose from cpu-barlow_twins" in call(
        capsys, "step", "--preset", "chip28nm", "--workload", "absent", code=2
    )
    assert "M is 0" in call(capsys, "gemm", "--dataflow", "core", "-M", "0", "-N", "1", "-K", "1", code=2)
    with pytest.raises(SystemExit, match="2"):
        main([*step, "chip28nm", "--density", "1.5"])


def test_an_unknown_workload_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    said = call(capsys, "step", "--preset", "chip28nm", "--workload", "smoke-nobody", code=2)
    assert "no workload 'smoke-nobody': choose from" in said
    assert "smoke-simclr" in said


def test_tables_of_layers_have_a_total_and_say_what_they_count(capsys: pytest.CaptureFixture[str], traced: str) -> None:
    said = call(capsys, "layer", "--workload", traced, "--batch", "1", "--preset", "chip28nm", "--density", "0.5")
    for words in (
        "all layers",
        "One view of 1 images through the online branch",
        "TFLOPS/W",
        "Conversion: speed-up over",
    ):
        assert words in said


@pytest.mark.parametrize("preset", ["chip28nm", "systolic32"])
def test_every_phase_lies_under_the_machines_own_roofs(
    capsys: pytest.CaptureFixture[str], traced: str, preset: str
) -> None:
    arguments = ("roofline", "--preset", preset, "--workload", traced, "--batch", "8")
    points = numbers(capsys, *arguments)["points"]
    assert all(0 < point["share"] <= 1 for point in points)
    assert len({point["name"] for point in points}) == len(points) > 20
    said = call(capsys, *arguments)
    assert f"{len(points)} phases, none above its roof" in said
    assert "share [ratio]  roof is" in said
    roofs = {True: "memory", False: "array"}
    told = [line.split()[-1] for line in said.splitlines() if line.endswith(tuple(roofs.values()))]
    assert told == [roofs[point["is_memory_bound"]] for point in points]
    slow = numbers(capsys, *arguments, "--set", "memory.dram_bandwidth=0.01")["points"]
    assert all(point["is_memory_bound"] for point in slow)


def test_a_machine_that_beats_its_roofs_is_refused(
    capsys: pytest.CaptureFixture[str], traced: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick: Callable[..., Cost] = lambda *given: dataclasses.replace(phase_cost(*given), cycles=1.0)  # noqa: E731
    monkeypatch.setattr("hardware.roofline.phase_cost", quick)
    said = call(capsys, "roofline", "--preset", "chip28nm", "--workload", traced, code=2)
    assert "above its roof of" in said
