"""Other settings than the profile's, on ``run`` and ``table``: checked first, named in the result. Trains nothing."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command_line
from bench.commands.changes import OtherSettings
from bench.commands.runs import Runs
from bench.commands.table import Table
from bench.config.run import UNTRAINED, Run
from bench.errors import RunError
from bench.runs import perform
from bench.runs.outcomes import Failed
from bench.runs.record import Record
from tests.made_up_tables import made_up_record

Answer = Callable[..., tuple[int, str, str]]
CELL = "simclr/gradual/element/d0.10"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Return the runs that are to be trained; each gets a made-up record at once, better with each."""
    asked: list[Run] = []

    def execute(runs: Sequence[Run], **_: Any) -> dict[str, Record | Failed]:
        asked.extend(runs)
        return {run.run_id: made_up_record(run, 40.0 + len(asked) + place) for place, run in enumerate(runs)}

    monkeypatch.setattr(perform, "execute", execute)
    return asked


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Answer:
    def act(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", *arguments, "--out", str(tmp_path)])
        monkeypatch.delenv("SPARSE_SSL_DATA", raising=False)
        return command_line.main(), *capsys.readouterr()

    return act


def test_a_run_prints_one_line_with_its_result_and_its_files(
    answer: Answer, trained: list[Run], tmp_path: Path
) -> None:
    code, line, _ = answer("run", CELL, "--data", "digits", "--set", "optimizer.learning_rate=0.1", "--seed", "3")
    assert code == 0
    (run,) = trained
    assert (run.optimizer.learning_rate, run.seed) == (0.1, 3)
    assert line.count("\n") == 1
    assert line.startswith(f"{run.run_id}: linear 41.00 %, knn 40.00 %, density 0.1000")
    assert str(tmp_path / "runs" / run.run_id) in line


def test_json_prints_the_record_instead(answer: Answer, trained: list[Run]) -> None:
    code, text, _ = answer("run", CELL, "--data", "digits", "--json")
    assert code == 0
    assert json.loads(text)["run_id"] == trained[0].run_id


def test_a_sweep_is_every_combination_and_a_table_at_the_end(answer: Answer, trained: list[Run]) -> None:
    vary = ("--vary", "optimizer.learning_rate=0.03,0.1", "--vary", "seed=0,1")
    code, table, _ = answer("run", CELL, "--data", "digits", *vary)
    assert code == 0
    found = [(run.optimizer.learning_rate, run.seed) for run in trained]
    assert sorted(found) == [(0.03, 0), (0.03, 1), (0.1, 0), (0.1, 1)]
    head, *rows = (line.split() for line in table.splitlines())
    assert head[:3] == ["optimizer.learning_rate", "seed", "linear"]
    assert [tuple(row[:2]) for row in rows] == [("0.03", "0"), ("0.03", "1"), ("0.1", "0"), ("0.1", "1")]
    assert [row[-1] for row in rows] == [run.run_id for run in trained]


def test_runs_of_a_sweep_with_other_images_are_no_outdated_ones(answer: Answer, trained: list[Run]) -> None:
    """Their records are of other images, each of its own: none is taken for one of another."""
    vary = ("run", CELL, "--data", "digits", "--vary", "data.train_images=320,640,320")
    _, _, notes = answer(*vary)
    assert [run.data.train_images for run in trained] == [320, 640]
    assert "other images" not in notes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--vary", "optimizer.epochs=1,two"), "'two' is not a whole number"),
        (("--vary", "optimizer.epochs=1", "--set", "optimizer.epochs=2"), "set and varied"),
        (("--vary", "optimizer.epochs=1", "--vary", "optimizer.epochs=2"), "same setting twice"),
        (("--vary", "views.recipe=simclr,symclr"), "Did you mean 'simclr'?"),
        (("--set", "optimizer.epochs=0"), "0 epochs"),
        (("--seed=-1",), "seed"),
        (("--evaluate-on", "validation"), "validation"),  # the digits are too few
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    arguments: tuple[str, ...], message: str, answer: Answer, trained: list[Run]
) -> None:
    code, _, errors = answer("run", CELL, "--data", "digits", *arguments)
    assert (code, trained) == (2, [])
    assert message in errors


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("simclar/gradual/element/d0.10", "framework 'simclar' is unknown. Did you mean 'simclr'?"),
        ("simclr/gradul/element/d0.10", "method 'gradul' is unknown. Did you mean 'gradual'?"),
        ("simclr/dual_gat/element/t1.50", "method 'dual_gat' is unknown. Did you mean 'dual_gate'?"),
        ("simclr/gradual/elment/d0.10", "elment"),
        ("simclr/gradual/element/d10", "point 'd10'"),
        ("simclr/gradual/element", "3 parts"),
    ],
)
def test_a_wrong_cell_is_answered_with_the_part_that_is_wrong(
    cell: str, message: str, answer: Answer, trained: list[Run]
) -> None:
    code, _, errors = answer("run", cell, "--data", "digits")
    assert (code, trained) == (2, [])
    assert message in errors


def test_an_unknown_table_is_answered_with_the_nearest(answer: Answer) -> None:
    code, _, errors = answer("table", "cifar01")
    assert code == 2
    assert "table 'cifar01' is unknown. Did you mean 'cifar10'?" in errors


@pytest.mark.parametrize("command", [("run", CELL, "--data", "digits"), ("table", "--stored"), ("regression",)])
def test_a_device_that_is_not_there_is_said_at_once(
    command: tuple[str, ...], answer: Answer, trained: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, errors = answer(*command, "--device", "cuda")
    assert (code, trained) == (2, [])
    assert "--device cuda: torch finds no CUDA device here. Use --device cpu" in errors


def test_a_table_with_other_settings_has_no_references_and_says_so(
    answer: Answer, trained: list[Run], tmp_path: Path
) -> None:
    options = ("--data", "digits", "--cells", "simclr/dense/*", "--set", "optimizer.epochs=2")
    code, table, errors = answer("table", "cifar10", *options)
    assert code == 0, errors
    assert [run.optimizer.epochs for run in trained] == [2]
    assert "NO_REFERENCE" in table
    assert "optimizer.epochs = 2 instead of" in table
    assert "in 1 of 1 cells" in table
    names = {path.stem for path in (tmp_path / "tables").iterdir()}
    assert len(names) == 1
    assert "-of-" in min(names)
    assert min(names).endswith("optimizer.epochs-2")
    body = json.loads(next((tmp_path / "tables").glob("*.json")).read_text())
    assert {claim["judgement"]["verdict"] for claim in body["claims"]} == {"NOT_JUDGED"}


def test_untrained_cells_stay_so_whatever_the_epochs() -> None:
    cells = Table(other=OtherSettings(settings=("optimizer.epochs=2",)))._spec("cifar10").cells
    assert {run.sparsity.method == UNTRAINED: run.optimizer.epochs for run in cells} == {True: 0, False: 2}


def test_a_table_is_scored_on_validation_images_if_asked() -> None:
    table = Table(other=OtherSettings(evaluate_on="validation"))
    own = Table()
    cells, own_cells = table._spec("cifar10").cells, own._spec("cifar10").cells
    assert {run.data.evaluate_on for run in cells} == {"validation"}
    assert not {run.run_id for run in cells} & {run.run_id for run in own_cells}


def test_a_setting_that_a_cell_cannot_have_names_the_cell() -> None:
    with pytest.raises(RunError, match=r"cell simclr/untrained/-/d1\.00: .*--cells"):
        Table(other=OtherSettings(settings=("framework.queue_size=64",)))._spec("cifar10")


def test_a_bug_of_ours_keeps_its_traceback(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(_: Runs) -> int:
        raise ValueError("a bug")

    monkeypatch.setattr(Runs, "act", act)
    with pytest.raises(ValueError, match="a bug"):
        answer("runs")
