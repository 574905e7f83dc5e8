"""What the command line decides before and after training, with nothing trained."""

import dataclasses
import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import provenance
from bench.__main__ import main
from bench.commands.images import stored_images
from bench.commands.place import Place
from bench.config import code as which_code
from bench.config.run import EvaluationSpec, Run
from bench.data import dataset
from bench.errors import UsageError
from bench.judging import references as references_module
from bench.runs import estimate, perform
from bench.runs.folder import RunFolder
from bench.runs.outcomes import Failed
from bench.runs.record import Record, seal
from bench.sources import Sources
from bench.tables import TABLES
from bench.training import checkpoint
from tests.images_on_disk import write_folder
from tests.made_up_tables import made_up_record
from tests.tiny import tiny_run

Answer = Callable[..., tuple[int, str]]
Outcomes = dict[str, Record | Failed]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(out=tmp_path, data_dir=tmp_path, jobs=2)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Return the runs that are to be trained, in their order; each gets a made-up record at once."""
    asked: list[Run] = []

    def execute(runs: Sequence[Run], **_: Any) -> Outcomes:
        asked.extend(runs)
        return {run.run_id: made_up_record(run, 50.0) for run in runs}

    monkeypatch.setattr(perform, "execute", execute)
    return asked


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Answer:
    """Return the exit code of a command and its errors."""

    def act(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["bench", arguments[0], "--out", str(tmp_path), *arguments[1:]])
        monkeypatch.delenv("SPARSE_SSL_DATA", raising=False)
        code = main()
        return code, capsys.readouterr().err

    return act


@pytest.fixture
def references(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return where references are stored: not among those of the repository. And the code is committed."""
    monkeypatch.setattr(references_module, "REFERENCES", tmp_path / "references")
    monkeypatch.setattr(provenance, "git_state", lambda: {"git_dirty": False})
    return tmp_path / "references"


def lay_record(place: Place, run: Run, fingerprint: str = "feed") -> Path:
    path = RunFolder.of(place.context.runs_dir, run).record
    made_up_record(run, 50.0, facts={"data_fingerprint": fingerprint}).save(path)
    return path


def test_the_longest_runs_start_first(place: Place, trained: list[Run]) -> None:
    runs = [tiny_run("simclr", "dense", epochs=epochs) for epochs in (1, 3, 2)]
    outcomes, notes = perform.perform(runs, place.context, hire=place.hire, force=True)
    assert [run.optimizer.epochs for run in trained] == [3, 2, 1]
    assert [outcome.run_id for outcome in outcomes] == [run.run_id for run in runs]  # as asked
    assert notes == []


def test_interrupted_runs_of_other_code_or_images_are_counted(
    place: Place, trained: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [tiny_run("simclr", "dense", seed=seed) for seed in range(3)]
    known = dataset.load(runs[0].data, None, place.context.cache_dir).fingerprint
    for run, fingerprint in zip(runs, (known, "others"), strict=False):
        path = RunFolder.of(place.context.runs_dir, run).checkpoint
        checkpoint.save(path, run, fingerprint, "a machine", {})
    _, notes = perform.perform(runs, place.context, hire=place.hire, force=True)
    assert notes == ["1 of the runs were interrupted on other images: those started anew."]
    monkeypatch.setattr(which_code, "code_of", lambda _run: Sources({"a file": "of other code"}))
    _, notes = perform.perform(runs, place.context, hire=place.hire, force=True)
    assert notes == ["The code changed since 2 of the runs were interrupted: those started anew."]
    assert len(trained) == 6


def test_records_on_other_images_are_made_again(place: Place, trained: list[Run]) -> None:
    runs = [tiny_run("simclr", "dense", seed=seed) for seed in range(2)]
    known = dataset.load(runs[0].data, None, place.context.cache_dir).fingerprint
    for run, fingerprint in zip(runs, (known, "others"), strict=True):
        lay_record(place, run, fingerprint)
    _, notes = perform.perform(runs, place.context, hire=place.hire, force=True)
    assert any(note.startswith("1 records were made on other images and were run again") for note in notes)
    assert runs[1] in trained


def test_records_whose_encoders_were_probed_on_other_images_are_made_again(place: Place, trained: list[Run]) -> None:
    write_folder(place.out / "mine", train=96)
    plain = tiny_run("simclr", "dense")
    runs = [dataclasses.replace(plain, evaluation=EvaluationSpec(transfer="mine"), seed=seed) for seed in range(2)]
    images = perform.task_of(runs, place.context, dataset.load(plain.data, None, place.context.cache_dir)).fingerprints
    assert images.keys() == {"data_fingerprint", "transfer_mine_fingerprint"}
    own = {"data_fingerprint": images["data_fingerprint"]}
    for run, facts in ((plain, own), (runs[0], images), (runs[1], own | {"transfer_mine_fingerprint": "others"})):
        made_by = {"source_digest": which_code.code_of(run).digest}
        path = RunFolder.of(place.context.runs_dir, run).record
        made_up_record(run, 50.0, facts=dict(facts), provenance=made_by).save(path)
    _, notes = perform.perform([plain, *runs], place.context, hire=place.hire, force=True)
    assert any(note.startswith("1 records were made on other images and were run again") for note in notes)
    assert trained == [runs[1]]


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "simclr/dense/-/d1.00", "--set", "optimizer.epochs=1"),
        ("record", "cifar10", "--cells", "simclr/dense/*"),
    ],
)
def test_paper_on_a_cpu_needs_force(
    arguments: tuple[str, ...],
    answer: Answer,
    trained: list[Run],
    references: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimate, "hours", lambda *_, **__: 1234.5)
    paper = (*arguments, "--profile", "paper", "--data", "digits")
    code, errors = answer(*paper)
    assert code == 2
    assert "would take at least 1,234.5 hours here" in errors
    assert "--force" in errors
    assert trained == []
    assert not references.exists()
    answer(*paper, "--force")
    assert {run.encoder.name for run in trained} == {"resnet-18"}
    trained.clear()
    answer(*arguments, "--data", "digits")
    assert {run.encoder.name for run in trained} == {"resnet-9"}


def test_on_a_gpu_the_hours_of_long_runs_are_announced_before_they_start(
    place: Place, trained: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of no others: a smoke table is over before its steps would be timed."""
    monkeypatch.setattr(estimate, "announced", lambda *_, **__: [f"hours, with {len(trained)} runs begun"])
    context = dataclasses.replace(place.context, device="cuda")
    for wants_gpu, expected in ((False, []), (True, ["hours, with 0 runs begun"])):
        trained.clear()
        runs = [tiny_run("simclr", "dense", seed=int(wants_gpu))]
        _, notes = perform.perform(runs, context, hire=place.hire, wants_gpu=wants_gpu)
        assert notes == expected
        assert trained == runs


def test_what_other_code_made_in_hours_is_not_made_again_unasked(
    place: Place, trained: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit, be it one line of the training loop, would else cost all GPU-hours of a table again."""
    runs = [tiny_run("simclr", "dense", seed=seed) for seed in range(2)]
    known = dataset.load(runs[0].data, None, place.context.cache_dir).fingerprint
    old = {"sources": {"bench/training/loop.py": "old"}, "source_digest": "old", "train_seconds": 7200.0}
    path = RunFolder.of(place.context.runs_dir, runs[0]).record
    made_up_record(runs[0], 50.0, facts={"data_fingerprint": known}, provenance=old).save(path)
    checkpoint.save(RunFolder.of(place.context.runs_dir, runs[1]).checkpoint, runs[1], known, "a machine", {})
    for module in (which_code, perform):
        monkeypatch.setattr(module, "code_of", lambda _run: Sources({"bench/training/loop.py": "new"}))
    make = functools.partial(perform.perform, runs, place.context, hire=place.hire, force=True, wants_gpu=True)
    with pytest.raises(UsageError) as refused:
        make()
    said = "other code made 1 of the runs (bench/training/loop.py; trained for 2.0 hours) and began 1. Give --redo"
    assert str(refused.value).startswith(said)
    assert trained == []
    make(redo=True)
    assert len(trained) == 2


def test_stored_records_of_a_table_itself_come_before_those_of_the_stand_in(place: Place) -> None:
    def found(profile: str = "smoke") -> str:
        return stored_images(functools.partial(table, profile), "cifar10", profile, [100], place).name

    table = TABLES["cifar10"]
    assert found() == "cifar10"
    stand_in, own = (table("smoke", name).runs([100])[1] for name in ("digits", "cifar10"))
    lay_record(place, stand_in)
    assert found() == "digits"
    assert found("cpu") == "cifar10"
    lay_record(place, own)
    assert found() == "cifar10"


def test_references_come_from_committed_code_and_enough_seeds(
    answer: Answer, trained: list[Run], references: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, errors = answer("record", "cifar10", "--data", "digits", "--seeds", "2")
    assert (code, trained) == (2, [])
    assert "--seeds 2: a reference needs at least 3 seeds" in errors
    monkeypatch.setattr(provenance, "git_state", lambda: {"git_dirty": True})
    code, errors = answer("record", "cifar10", "--data", "digits")
    assert (code, trained) == (2, [])
    assert "tracked files differ from the commit. Commit first." in errors
    assert not references.exists()


@pytest.mark.parametrize(
    ("profile", "options", "recorded"),
    [
        ("smoke", (), ["cifar10", "digits"]),
        ("smoke", ("--data", "digits"), ["digits"]),
        ("smoke", ("--data", "cifar10"), ["cifar10"]),
        ("cpu", (), ["cifar10"]),
    ],
)
def test_references_of_smoke_are_of_the_images_and_of_their_stand_in(
    profile: str,
    options: tuple[str, ...],
    recorded: list[str],
    answer: Answer,
    references: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "data" / "cifar10").mkdir(parents=True)  # found; and not read, as nothing is trained

    def made_at_once(runs: Sequence[Run], *_: Any, wants_gpu: bool, **__: Any) -> tuple[list[Record], list[str]]:
        assert not wants_gpu
        return [made_up_record(run, 50.0) for run in runs], []

    monkeypatch.setattr(perform, "perform", made_at_once)
    arguments = ("record", "cifar10", "--profile", profile, "--cells", "simclr/dense/*", "--seeds", "3")
    assert answer(*arguments, *options) == (0, "")
    stored = sorted(references.glob("*/*/*/*.json"))
    assert sorted({path.parent.name for path in stored}) == recorded
    assert {path.parent.parent for path in stored} == {references / "cifar10" / profile}
    for name in recorded:
        records = [Record.load(path) for path in stored if path.parent.name == name]
        assert sorted(each.run.seed for each in records) == [0, 1, 2]


THREE_DENSE = ("--data", "digits", "--cells", "simclr/dense/*", "--seeds", "3")


@pytest.fixture
def stored(answer: Answer, trained: list[Run], references: Path) -> list[Path]:
    """Return the files of three stored runs of the table ``cifar10``, whose dense rows are those of ``nm``."""
    assert answer("record", "cifar10", *THREE_DENSE)[0] == 0
    trained.clear()
    return sorted(references.glob("cifar10/smoke/digits/*.json"))


def test_only_runs_that_no_table_has_stored_are_made(
    answer: Answer, trained: list[Run], references: Path, stored: list[Path]
) -> None:
    known = {path.name: path.read_bytes() for path in stored}
    assert answer("record", "nm", "--missing", *THREE_DENSE[:-1], "5")[0] == 0
    assert [run.seed for run in trained] == [3, 4]
    made = {path.name: path.read_bytes() for path in references.glob("nm/smoke/digits/*.json")}
    assert len(made) == 5
    assert known.items() <= made.items()
    trained.clear()
    assert answer("record", "cifar10", "--missing", *THREE_DENSE)[0] == 0
    assert trained == []
    assert {path.name: path.read_bytes() for path in stored} == known


def test_what_other_code_has_stored_is_said(answer: Answer, stored: list[Path]) -> None:
    code, errors = answer("record", "cifar10", "--missing", *THREE_DENSE[:-1], "4")
    assert code == 0
    assert f"Other code than the present made {len(stored)} of them" in errors


def test_first_seeds_are_not_made_anew_beside_later_ones_that_stay(
    answer: Answer, trained: list[Run], stored: list[Path]
) -> None:
    assert answer("record", "cifar10", "--missing", *THREE_DENSE[:-1], "5")[0] == 0
    trained.clear()
    code, errors = answer("record", "cifar10", *THREE_DENSE)
    assert (code, trained) == (2, [])
    assert "has references of seeds up to 4; those from 3 on would stay" in errors
    assert answer("record", "cifar10", *THREE_DENSE[:-1], "5")[0] == 0
    assert len(stored) == 3


def test_one_run_with_two_results_is_taken_into_no_other_table(
    answer: Answer, trained: list[Run], references: Path, stored: list[Path]
) -> None:
    body = json.loads(stored[0].read_text())
    del body["seal"]
    body["facts"]["loss_digest"] = "another"
    other = references / "transfer/smoke/digits" / stored[0].name
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps(body | {"seal": seal(body)}))
    code, errors = answer("record", "nm", "--missing", *THREE_DENSE)
    assert (code, trained) == (2, [])
    assert "hold different numbers of one run" in errors
    assert not list(references.glob("nm/smoke/digits/*.json"))


def test_a_reference_of_before_a_setting_was_added_is_taken_over_as_it_is(
    answer: Answer, trained: list[Run], references: Path, stored: list[Path]
) -> None:
    """Written anew it would name the setting, under another seal: a change of the tree, and of nothing."""
    new = stored[0].read_text()
    body = json.loads(new)
    del body["seal"], body["run"]["views"]["control_pixels"]
    stored[0].write_text(json.dumps(body | {"seal": seal(body)}))
    known = stored[0].read_bytes()
    for table in ("cifar10", "nm"):
        assert answer("record", table, "--missing", *THREE_DENSE)[0] == 0
        assert (references / table / "smoke/digits" / stored[0].name).read_bytes() == known
    stored[0].write_text(new)
    assert answer("record", "nm", "--missing", *THREE_DENSE)[0] == 0
    assert (references / "nm/smoke/digits" / stored[0].name).read_bytes() == known  # what is stored stays
    assert trained == []


def test_a_stored_run_that_was_edited_is_taken_into_no_other_table(
    answer: Answer, trained: list[Run], references: Path, stored: list[Path]
) -> None:
    stored[0].write_text(stored[0].read_text().replace("50.0", "51.0"))
    code, errors = answer("record", "nm", "--missing", *THREE_DENSE)
    assert (code, trained) == (2, [])
    assert "does not match its seal" in errors
    assert not list(references.glob("nm/smoke/digits/*.json"))


def test_a_record_that_lies_under_out_becomes_no_reference(
    answer: Answer, trained: list[Run], references: Path, place: Place
) -> None:
    (forged,) = TABLES["cifar10"]("smoke", "digits").select("simclr/dense/*").runs([0])
    made_up_record(forged, 99.99).save(RunFolder.of(place.context.runs_dir, forged).record)
    arguments = ("record", "cifar10", "--data", "digits", "--cells", "simclr/dense/*", "--seeds", "3")
    assert answer(*arguments)[0] == 0
    assert forged in trained
    stored = [Record.load(path) for path in references.glob("*/*/*/*.json")]
    assert [record.metrics["linear_top1_percent"] for record in stored] == [50.0] * 3
    code, errors = answer(*arguments, "--resume", "nowhere")
    assert (code, "there is no such folder" in errors) == (2, True)


def test_shards_make_every_run_of_a_table_once_and_no_table_and_are_merged(
    answer: Answer, trained: list[Run], tmp_path: Path
) -> None:
    def shard(text: str) -> list[Run]:
        trained.clear()
        assert answer("table", "--data", "digits", "--seeds", "2", "--shard", text)[0] == 0
        return [*trained]

    parts = [shard(f"{part}/5") for part in range(1, 6)]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    runs = [run for part in parts for run in part]
    assert sorted(run.run_id for run in runs) == sorted(
        run.run_id for run in TABLES["cifar10"]("smoke", "digits").runs((100, 101))
    )
    assert not (tmp_path / "tables").exists()
    for text, rule in (
        ("0/5", "from 1 to N"),
        ("6/5", "from 1 to N"),
        ("half", "from 1 to N"),
        ("999/999", f"only {len(runs)}"),
    ):
        code, errors = answer("table", "--data", "digits", "--seeds", "2", "--shard", text)
        assert (code, rule in errors) == (2, True)


def test_there_is_a_worker_a_core_or_some_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, GPU-b0")
    place = Place(out=tmp_path, jobs_per_gpu=3)
    assert place.workers == len(os.sched_getaffinity(0))
    assert place.context.seconds_between_checkpoints == 10.0
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    place = dataclasses.replace(place, device="auto")
    assert place.workers == 6
    assert place.context.seconds_between_checkpoints == 600.0
    assert dataclasses.replace(place, jobs=2).workers == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table", "--data", "digits"), "Start the command without torchrun"),
        (("run", "simclr/dense/-/d1.00", "--data", "digits", "--vary", "seed=0,1"), "Leave --vary and --lane out"),
        (
            ("run", "simclr/dense/-/d1.00", "--data", "digits", "--set", "optimizer.batch_images=33"),
            "batches of 33 images cannot be shared out evenly over 2 ranks",
        ),
    ],
)
def test_ranks_make_one_run_together_in_batches_that_they_divide(
    arguments: tuple[str, ...], message: str, answer: Answer, trained: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    code, errors = answer(*arguments)
    assert (code, trained) == (2, [])
    assert message in errors


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1"])
def test_seconds_between_checkpoints_are_a_number(seconds: str, answer: Answer) -> None:
    code, errors = answer("run", "simclr/dense/-/d1.00", "--data", "digits", "--checkpoint-seconds", seconds)
    assert code == 2
    assert "a number of seconds is needed, 0 or more" in errors


@pytest.mark.parametrize("kind", ["a file", "a loop", "too long"])
def test_a_folder_for_results_that_cannot_be_is_said_in_a_line(kind: str, answer: Answer, tmp_path: Path) -> None:
    out = tmp_path / ("x" * 300 if kind == "too long" else "out")
    if kind == "a file":
        out.touch()
    elif kind == "a loop":
        out.symlink_to(out)
    code, errors = answer("run", "simclr/dense/-/d1.00", "--data", "digits", "--out", str(out))
    assert code == 2
    assert errors.startswith("error: ")
    assert str(out) in errors
    assert errors.count("\n") == 1


def test_what_failed_is_no_reference(answer: Answer, references: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(runs: Sequence[Run], **_: Any) -> Outcomes:
        failed, *rest = runs
        reason = Failed(run_id=failed.run_id, cell=failed.cell, seed=failed.seed, reason="the moon is full")
        return {failed.run_id: reason} | {run.run_id: made_up_record(run, 50.0) for run in rest}

    monkeypatch.setattr(perform, "execute", execute)
    code, errors = answer("record", "cifar10", "--data", "digits", "--cells", "simclr/dense/*", "--seeds", "3")
    assert code == 1
    assert "the moon is full" in errors
    assert len(list(references.glob("cifar10/smoke/digits/*.json"))) == 2
