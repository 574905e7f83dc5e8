"""``show``, ``runs`` and ``diff``: what lies there is found, told and compared; nothing is trained."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.judging.judge import assemble
from bench.report import loss
from bench.report.json import payload
from bench.runs import job
from bench.runs.context import Context
from bench.runs.folder import RunFolder
from bench.runs.record import seal
from bench.ticks import silent
from tests.made_up_tables import made_up_claims, made_up_records, made_up_run, made_up_spec, made_up_tolerances
from tests.tiny import gated_run

ROOT = Path(__file__).resolve().parents[4]
REFERENCES = ROOT / "results/references"
SYNCHRONIZED = "simclr-synchronized-element-d0.02+g0.30-s"
Answer = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny gated run."""
    folder = tmp_path_factory.mktemp("gated")
    context = Context(runs_dir=folder / "runs", data_dir=folder, cache_dir=folder / "cache", keeps_encoders=False)
    run = gated_run("simclr", "dual_gate", 1.5)
    job.perform(run, context, silent)
    return folder / "runs" / run.run_id


@pytest.fixture
def out(tmp_path: Path, gated: Path) -> Path:
    """Return a folder of results with two seeds of one cell and a gated run."""
    stored = (REFERENCES / "cifar10/smoke/cifar10").glob(f"{SYNCHRONIZED}[01]-*.json")
    for name, record in ((gated.name, gated / "record.json"), *((path.stem, path) for path in stored)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        shutil.copy(record, tmp_path / "runs" / name / "record.json")
    return tmp_path


@pytest.fixture
def table(out: Path) -> Path:
    """Return the JSON file of a table with two judged cells."""
    cells = made_up_run(), made_up_run("gradual", density=0.1)
    fresh, stored = (
        [record for run in cells for record in made_up_records(run, values, first_seed=first)]
        for values, first in (([50.2], 100), ([50.0, 50.5, 49.5, 50.1, 50.3], 0))
    )
    judged = assemble(made_up_spec(*cells), fresh, stored, made_up_tolerances(), made_up_claims())
    path = out / "tables" / "cifar10-smoke-cifar10.json"
    path.parent.mkdir()
    path.write_text(payload(judged))
    return path


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: Path) -> Answer:
    def act(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", *arguments, "--out", str(out)])
        return main(), *capsys.readouterr()

    return act


def test_show_tells_all_of_a_run_and_draws_its_loss(answer: Answer, out: Path) -> None:
    code, shown, _ = answer("show", f"{SYNCHRONIZED}0")
    assert code == 0
    (name,) = [path.name for path in (out / "runs").glob(f"{SYNCHRONIZED}0-*")]
    facts = json.loads((out / "runs" / name / "record.json").read_text())["facts"]
    assert f"simclr/synchronized/element/d0.02+g0.30, seed 0: {name}" in shown
    assert "optimizer.learning_rate       0.06" in shown
    assert f"at step 0 to {facts['loss_curve'][-1]:.4g} at step {12 * (len(facts['loss_curve']) - 1)}" in shown
    kept, kept_target = (facts[name]["layer4.0.conv2"] for name in ("kept_per_layer", "kept_per_layer_target"))
    layer = next(line for line in shown.splitlines() if "layer4.0.conv2" in line)
    assert layer.split()[1:] == [f"{kept / 36864:.4f}", f"{kept_target / 36864:.4f}", "36,864"]
    assert (
        "python -m bench run simclr/synchronized/element/d0.02+g0.30 --profile smoke --data cifar10 --seed 0" in shown
    )
    assert (out / "runs" / name / "loss.svg").read_bytes().startswith(b"<?xml")


def test_show_of_gates_tells_how_many_were_on(answer: Answer, out: Path) -> None:
    (folder,) = (out / "runs").glob("simclr-dual*")
    code, shown, _ = answer("show", str(folder))
    assert code == 0
    rates = json.loads((folder / "record.json").read_text())["facts"]["gate_rate_per_layer"]
    assert all(f"{rate:.4f}" in shown for rate in rates.values())


def test_a_run_is_found_by_a_beginning_of_its_name_that_is_its_own(answer: Answer, out: Path) -> None:
    code, _, errors = answer("show", SYNCHRONIZED)
    assert code == 2
    assert "2 runs begin so" in errors
    (run,) = (out / "runs").glob(f"{SYNCHRONIZED}0-*")
    code, _, errors = answer("show", run.name.replace("synchronized", "sinchronized"))
    assert code == 2
    assert f"Did you mean '{run.name}'" in errors


def test_runs_lists_what_lies_there_and_how_far_it_has_come(answer: Answer, out: Path) -> None:
    runs = out / "runs"
    for name, files in (("a-failed", ["lock", "error.txt"]), ("b-interrupted", ["lock", "checkpoint.pt"])):
        (runs / name).mkdir()
        for file in files:
            (runs / name / file).touch()
    busy = RunFolder(runs / "c-busy")
    with busy.held(lambda _: None):
        busy.progress.write_text('{"phase": "training", "done": 12, "total": 240}')
        code, listed, _ = answer("runs")
    assert code == 0
    states = {line.split()[-1]: " ".join(line.split()[6:-1]) for line in listed.splitlines()[1:]}
    assert states.pop("a-failed") == "failed"
    assert states.pop("b-interrupted") == "interrupted"
    assert states.pop("c-busy") == "under way, step 12/240"
    assert len(states) == 3
    assert set(states.values()) == {"finished"}


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (("seed=0",), 2),
        (("cell=simclr/synchronized/*",), 2),
        (("sparsity.density=0.02", "seed=1"), 1),
        (("sparsity.density=0.020",), 2),
        (("data.name=cifar100",), 0),
    ],
)
def test_runs_are_filtered_by_any_setting(where: tuple[str, ...], found: int, answer: Answer) -> None:
    _, listed, _ = answer("runs", *(word for each in where for word in ("--where", each)))
    assert sum("finished" in line for line in listed.splitlines()) == found


def test_an_unknown_setting_to_filter_by_is_no_empty_answer(answer: Answer) -> None:
    code, _, errors = answer("runs", "--where", "optimizer.lr=1")
    assert code == 2
    assert "setting 'optimizer.lr' is unknown" in errors


def test_diff_of_a_run_with_itself_is_nothing(answer: Answer) -> None:
    assert answer("diff", f"{SYNCHRONIZED}0", f"{SYNCHRONIZED}0")[:2] == (0, "nothing differs\n")


def test_diff_names_settings_and_numbers(answer: Answer, out: Path) -> None:
    before, after = (
        json.loads(path.read_text())["metrics"]["linear_top1_percent"]
        for path in sorted((out / "runs").glob(f"{SYNCHRONIZED}*/record.json"))
    )
    code, found, _ = answer("diff", f"{SYNCHRONIZED}0", f"{SYNCHRONIZED}1")
    assert code == 1
    assert "setting seed: 0 -> 1 (+1)" in found
    assert f"number linear_top1_percent: {before:g} -> {after:g} ({after - before:+.4g})" in found
    assert "density_prunable" not in found  # equal
    assert "host" not in found


def test_diff_of_tables_names_verdicts_and_cells(answer: Answer, out: Path, table: Path) -> None:
    body = json.loads(table.read_text())
    first, second = body["rows"]
    first["judgement"]["verdict"] = "DEVIATES"
    first["new"]["linear_top1_percent"]["mean"] += 1.0
    body["rows"].remove(second)
    (out / "other.json").write_text(json.dumps(body))
    assert answer("diff", str(table), str(table))[0] == 0
    code, found, _ = answer("diff", str(table), str(out / "other.json"))
    assert code == 1
    verdict, number, missing = sorted(found.splitlines(), key=lambda line: "verdict" not in line)[:3]
    assert verdict == f"{first['cell']}: verdict: REPRODUCED -> DEVIATES"
    assert f"cell {second['cell']}: only in the first" in (number, missing)
    assert "(+1)" in number + missing


def test_diff_of_folders_names_what_only_one_has(
    answer: Answer, out: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(out / "runs", other / "runs")
    assert answer("diff", str(out), str(other))[0] == 0
    (gated,) = (other / "runs").glob("simclr-dual*")
    shutil.rmtree(gated)
    (path,) = (other / "runs").glob(f"{SYNCHRONIZED}0-*/record.json")
    body = json.loads(path.read_text())
    body["facts"]["optimizer_steps"] = 399
    path.write_text(json.dumps(body | {"seal": seal(body)}))
    code, found, _ = answer("diff", str(out), str(other))
    assert code == 1
    assert found.splitlines() == [
        f"{gated.name}: only in the first",
        f"{path.parent.name}: fact optimizer_steps: 600 -> 399 (-201)",
    ]


def test_only_two_of_a_kind_are_compared(answer: Answer, out: Path, table: Path) -> None:
    code, _, errors = answer("diff", str(table), f"{SYNCHRONIZED}0")
    assert code == 2
    assert "the first is a table, the second a run" in errors
    code, _, errors = answer("diff", str(out), f"{SYNCHRONIZED}0")
    assert code == 2
    assert "the other is none" in errors


def test_a_sparkline_has_its_extremes_and_bears_a_constant() -> None:
    assert loss.sparkline([1.0, 8.0, 4.5]) in {"▁█▄", "▁█▅"}
    assert loss.sparkline([2.0, 2.0]) == "▁▁"


def test_written_files_honour_the_umask(answer: Answer, out: Path) -> None:
    before = os.umask(0o027)
    try:
        answer("show", f"{SYNCHRONIZED}0")
    finally:
        os.umask(before)
    (path,) = (out / "runs").glob("*/loss.svg")
    assert path.stat().st_mode & 0o777 == 0o640
