"""`python -m bench accelerator` and `... workload`: from real runs and from random masks, and what they refuse."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import main
from bench.config.run import Run
from bench.runs import job
from bench.runs.context import Context
from bench.runs.record import Record, RecordError
from bench.speedup import recorded, stored, timeline, trace
from bench.ticks import silent
from hardware import comparison, presets
from hardware.cost.step import step
from hardware.network.masks import read
from hardware.sparsity.gates import GateRate
from tests.tiny import gated_run, tiny_run

RUN = tiny_run("byol", "synchronized", gap=0.3)


@pytest.fixture(name="out", scope="module")
def fixture_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one finished run, of a method that regrows by the dense gradient."""
    out = tmp_path_factory.mktemp("out")
    context = Context(runs_dir=out / "runs", data_dir=out / "data", cache_dir=out / "cache")
    job.perform(RUN, context, silent)
    return out


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    return main()


def test_the_table_of_a_run(out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "accelerator", "--out", str(out), "--no-draws") == 0
    shown = capsys.readouterr().out
    assert "Published:" in shown
    assert "Assumed (ours):" in shown
    body = json.loads((out / "tables" / "accelerator.json").read_text())
    assert [row["machine"] for row in body["rows"]] == presets.names()
    assert all(row["source"] == f"masks of {RUN.run_id}" for row in body["rows"])
    assert all(row["branches"] == "EMA target" for row in body["rows"])
    assert RUN.cell in (out / "tables" / "accelerator.html").read_text()
    assert (out / "tables" / "accelerator.md").read_text().count(" EMA target ") == len(presets.names())
    numbers = next(row for row in body["rows"] if row["machine"] == "element_core")
    network = trace.trace(replace(RUN, seed=0), "byol")
    path = out / "runs" / RUN.run_id / "masks.npz"
    states = [read(path, network, "final", branch) for branch in ("online", "target")]
    expected = comparison.rows(network, presets.machine("element_core"), *states)["step"]
    assert numbers["final"]["cycles"] == expected.sparse.cycles
    assert numbers["final"]["macs_reduction"] > numbers["average"]["macs_reduction"] > 1.0


def test_updates_and_dense_gradients_are_charged(out: Path) -> None:
    """On average over the run, not in its last step."""
    (found,) = recorded.courses(out / "runs", "byol/*")
    spec, record = found.workload.step, Record.load(out / "runs" / RUN.run_id / "record.json")
    updates = record.facts["update_steps"]
    assert isinstance(updates, list)
    assert found.regrows
    charged = sum(20 * moment.share / moment.period for moment in found.moments if moment.period)
    assert charged == pytest.approx(len(updates), rel=0.35)  # a period is a whole number of few steps here
    assert spec.mask_update_period_steps == found.moments[0].period == found.moments[-1].period == 0
    machine = presets.machine("element_core")
    final, average = found.rows(machine)
    assert final.sparse == step(found.workload, machine, found.final.online, found.final.target).total
    whole = sum(
        moment.share * step(found.updated(moment), machine, moment.online, moment.target).total.cycles
        for moment in found.moments
    )
    assert average.sparse.cycles == pytest.approx(whole)
    assert found.moments[0].share == pytest.approx(RUN.sparsity.start_fraction)


def test_a_gated_run_stands_beside_a_sparse_one(out: Path, tmp_path: Path) -> None:
    """Rates of both branches are the record's; gates that no machine skips, and dense gradients, are left out."""
    shutil.copytree(out / "runs", tmp_path / "runs")
    context = Context(runs_dir=tmp_path / "runs", data_dir=out / "data", cache_dir=out / "cache")
    for method in ("dual_gate", "spatial_gate"):
        job.perform(gated_run("simclr", method, 1.5, epochs=1), context, silent)
    job.perform(tiny_run("simclr", "sr_ste", epochs=1), context, silent)
    gated, sparse = sorted(recorded.courses(tmp_path / "runs", "*"), key=lambda item: "byol" in item.kind)
    assert (gated.kind, sparse.kind) == ("simclr/dual_gate/element/t1.50", RUN.cell)
    (record,) = (Record.load(path) for path in tmp_path.glob("runs/simclr-dual_gate*/record.json"))
    for states, fact in (
        (gated.final.online, "gate_rate_per_layer"),
        (gated.final.target, "gate_rate_per_layer_target"),
    ):
        rates = record.facts[fact]
        assert isinstance(rates, dict)
        expected = {name: GateRate(rate, 0.25, 1) for name, rate in rates.items()}
        assert {name: state.gate for name, state in states.items()} == expected
    assert gated.rows(presets.machine("chip28nm"))[0].macs_reduction > 1.0
    gates, dense_gradients = recorded.left_out(tmp_path / "runs", "*")
    assert "simclr/spatial_gate/element/t1.50" in gates
    assert "simclr/sr_ste/2:4/d0.50: the machines compute the gradient of pruned weights at" in dense_gradients


def test_updates_lie_where_they_happened() -> None:
    """Before, during and after a schedule from 0.3 to 0.68 of 100 steps."""
    assert timeline.periods_of([30, 40, 49, 60], 100, 0.3, 0.68) == (0, 10, 0)
    assert timeline.periods_of([10, 20, 90], 100, 0.3, 0.68) == (15, 0, 31)


def test_the_shares_of_a_run_add_up() -> None:
    assert sum(timeline.shares(0.3, 0.68)) == pytest.approx(1.0)
    assert timeline.shares(0.0, 1.0) == [0.0, 0.125, 0.25, 0.25, 0.25, 0.125, 0.0]


def spoiled(
    out: Path, tmp_path: Path, name: str, bits: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None"
) -> Path:
    """Return a copy of the runs in which one entry of the masks was replaced, or removed."""
    folder = tmp_path / "runs" / RUN.run_id
    folder.mkdir(parents=True)
    (folder / "record.json").write_text((out / "runs" / RUN.run_id / "record.json").read_text())
    with np.load(out / "runs" / RUN.run_id / "masks.npz") as file:
        entries = {key: file[key] for key in file.files}
    del entries[name]
    np.savez_compressed(
        folder / "masks.npz", allow_pickle=False, **(entries if bits is None else entries | {name: bits})
    )
    return tmp_path


def without_sums(folder: Path) -> None:
    """Write the record anew as if it had none of the masks' file, as those of early versions."""
    path = folder / "runs" / RUN.run_id / "record.json"
    record = Record.load(path)
    rest = {name: value for name, value in record.provenance.items() if name != "masks_sha256"}
    replace(record, provenance=rest).save(path)


@pytest.mark.parametrize("point", ["point2", "final"])
def test_masks_of_no_point_of_the_schedule_are_believed_if_the_file_is_not_the_records(
    point: str, out: Path, tmp_path: Path
) -> None:
    """Found by a review: masks before the final ones, which decide the average step, were any."""
    name = f"{point}/online/layer1.0.conv1"
    with np.load(out / "runs" / RUN.run_id / "masks.npz") as file:
        other = file[name] & 1
    folder = spoiled(out, tmp_path, name, other)
    with pytest.raises(
        RecordError, match=r"masks\.npz: its SHA-256 is not that in byol-synchronized.*Restore the file"
    ):
        list(recorded.courses(folder / "runs", "*"))


@pytest.mark.parametrize("branch", ["online", "target"])
def test_masks_that_are_not_the_records_are_refused(
    branch: str, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"final/{branch}/layer1.0.conv1"
    with np.load(out / "runs" / RUN.run_id / "masks.npz") as file:
        other = file[name].copy()
    other[0] ^= 128
    folder = spoiled(out, tmp_path, name, other)
    without_sums(folder)
    assert call(monkeypatch, "accelerator", "--out", str(folder), "--no-draws") == 2
    error = capsys.readouterr().err
    assert f"{RUN.run_id}/masks.npz: the final masks of the {branch} branch do not have the digest" in error
    assert "Restore the file, or delete the folder and make the run again." in error


def test_masks_of_another_network_are_refused(out: Path, tmp_path: Path) -> None:
    folder = spoiled(out, tmp_path, "final/online/layer1.0.conv1", None)
    without_sums(folder)
    with pytest.raises(RecordError, match=r"These are not the masks of byol-synchronized.*Restore the file"):
        list(recorded.courses(folder / "runs", "*"))


def test_a_run_without_masks_is_refused(out: Path, tmp_path: Path) -> None:
    (spoiled(out, tmp_path, "final/online/layer1.0.conv1", None) / "runs" / RUN.run_id / "masks.npz").unlink()
    with pytest.raises(RecordError, match=r"masks\.npz.*make the run again"):
        list(recorded.courses(tmp_path / "runs", "*"))


def test_settings_of_other_code_are_refused(out: Path, tmp_path: Path) -> None:
    folder = spoiled(out, tmp_path, "final/online/layer1.0.conv1", None) / "runs" / RUN.run_id
    body = json.loads((folder / "record.json").read_text())
    body["run"]["sparsity"]["density"] = 0.9
    (folder / "record.json").write_text(json.dumps(body))
    with pytest.raises(RecordError, match=r"record\.json: its settings are those of .*d0\.90"):
        list(recorded.courses(tmp_path / "runs", "*"))
    body["run"]["sparsity"]["colour"] = "red"
    (folder / "record.json").write_text(json.dumps(body))
    with pytest.raises(RecordError, match=r"record\.json: run.sparsity has unknown entries colour"):
        list(recorded.courses(tmp_path / "runs", "*"))


def test_what_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "accelerator", "--out", str(tmp_path), "--machines", "chip29nm") == 2
    assert "no preset 'chip29nm': choose from chip28nm" in capsys.readouterr().err
    assert call(monkeypatch, "accelerator", "--out", str(tmp_path), "--no-draws") == 2
    assert "No run under" in capsys.readouterr().err
    assert call(monkeypatch, "workload", "huge-byol") == 2
    assert "network 'huge-byol' is unknown" in capsys.readouterr().err


def test_workloads_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, "workload", "smoke-byol", "--folder", str(tmp_path)) == 0
    assert (tmp_path / "smoke-byol.json").read_text() == stored.path_of("smoke-byol").read_text()


def test_the_habits_of_a_method_are_its_own() -> None:
    """Static masks are there from the start and never look at the dense gradient."""

    def habits(run: Run) -> tuple[bool, bool]:
        record = Record(
            run=run,
            metrics={},
            facts={"optimizer_steps": 20, "update_steps": [8] if run.sparsity.method == "gradual" else []},
            provenance={},
        )
        found = recorded._habits(run, record)[1]
        return found.starts_dense, found.regrows

    assert habits(tiny_run("simclr", "static_erk")) == (False, False)
    assert habits(tiny_run("simclr", "gradual")) == (True, False)
