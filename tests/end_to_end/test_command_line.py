"""The real command line, in processes of its own: what a user types, breaks, and types again."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

from bench.__main__ import main
from bench.runs.record import seal
from bench.tables import TABLES
from tests import forked
from tests.forked import Running, until

ROOT = Path(__file__).resolve().parents[2]
Answer = Callable[..., tuple[int, str, str]]
CELL = "simclr/synchronized/element/d0.10+g0.30"
SMALL = (
    "--data=digits",
    "--set=data.train_images=160",
    "--set=optimizer.batch_images=16",
    "--set=encoder.width=0.0625",
    "--set=optimizer.epochs=8",  # long enough to be interrupted three times
)
TINY = (*SMALL[:-1], "--set=optimizer.epochs=1")


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "SPARSE_SSL_DATA"}


@pytest.fixture(autouse=True)
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let nothing be fetched in this process, whatever network there is; return which data sets somebody wanted."""
    wanted: list[str] = []

    def refuse(images: CIFAR10) -> None:  # CIFAR-100's too
        wanted.append(type(images).__name__)
        raise urllib.error.URLError("tests fetch nothing")

    monkeypatch.setattr(CIFAR10, "download", refuse)
    return wanted


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Answer:
    """Return what a command prints and exits with, in this process: a new one costs seconds of imports."""

    def act(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        monkeypatch.delenv("SPARSE_SSL_DATA", raising=False)
        code = main()
        return code, *capsys.readouterr()

    return act


def essence(text: str) -> dict[str, Any]:
    """A record without time, host and place."""
    record = json.loads(text)
    return {name: record[name] for name in ("run_id", "run", "metrics", "facts")}


def one_run(out: Path) -> tuple[str, ...]:
    return ("run", CELL, *SMALL, "--json", "--out", str(out), "--seed", "7")


def checkpoints(out: Path) -> list[Path]:
    return list(out.glob("runs/*/checkpoint.pt"))


def started(out: Path, name: str) -> Running:
    command = (*one_run(out), "--checkpoint-seconds=0.1")
    return Running(forked.bench, *command, output=out / name, environment=environment())


def continued(out: Path, name: str) -> Running:
    """Start the same command again, and return when it has gone on and written another checkpoint."""
    (path,) = checkpoints(out)
    written = path.stat().st_mtime_ns
    process = started(out, name)
    until(lambda: path.stat().st_mtime_ns != written)
    return process


def worker_of(process: Running) -> psutil.Process:
    (worker,) = process.workers()
    return psutil.Process(worker)


def ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_run_survives_ctrl_c_and_kills_and_is_made_once(tmp_path: Path, answer: Answer) -> None:
    """One run, disturbed at every process of it in turn, ends with the record of an undisturbed one, and stays."""
    process = started(tmp_path, "interrupted")
    until(lambda: checkpoints(tmp_path))
    process.kill_group(signal.SIGINT)  # as a terminal does: to every process
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "interrupted; the same command again continues" in errors
    assert "Traceback" not in errors

    process = continued(tmp_path, "worker killed")
    worker_of(process).kill()
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "died with signal 9" in errors

    process = continued(tmp_path, "killed")
    worker = worker_of(process)
    process.kill()
    process.communicate()
    until(lambda: ended(worker))

    assert checkpoints(tmp_path)
    code, done, errors = answer(*one_run(tmp_path))
    assert code == 0, errors
    assert not checkpoints(tmp_path)
    _, undisturbed, _ = answer(*one_run(tmp_path / "undisturbed"))
    assert essence(done) == essence(undisturbed)


def test_a_finished_run_is_not_repeated_unless_the_code_has_changed(tmp_path: Path, answer: Answer) -> None:
    command = ("run", CELL, *TINY, "--json", "--out", str(tmp_path))
    _, made, _ = answer(*command)
    (path,) = tmp_path.glob("runs/*/record.json")
    written = path.stat().st_mtime_ns
    assert answer(*command)[:2] == (0, made)
    assert path.stat().st_mtime_ns == written
    body = json.loads(path.read_text())
    body["provenance"]["source_digest"] = "0123456789abcdef"
    path.write_text(json.dumps(body | {"seal": seal(body)}))
    _, changed, notes = answer(*command)
    assert "The code changed since 1 of the records were made" in notes
    assert essence(changed) == essence(made)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_no_test_here_fetches_anything(name: str, tmp_path: Path, answer: Answer, downloads: list[str]) -> None:
    code, _, errors = answer("data", "--download", name, "--out", str(tmp_path))
    assert code == 2
    assert "tests fetch nothing" in errors
    assert downloads == [name.upper()]


def test_stored_references_are_shown_without_their_images(tmp_path: Path, answer: Answer, downloads: list[str]) -> None:
    """They lie in the repository: neither images nor a network, nor a stand-in, are needed to read them."""
    code, table, errors = answer("table", "cifar10", "--stored", "--cells", "simclr/*/-/*", "--out", str(tmp_path))
    assert code == 0, errors  # nothing was to be judged
    cells = len(TABLES["cifar10"]("smoke", "cifar10").cells)
    assert f"2 of {cells} cells" in table
    assert not list(tmp_path.glob("tables/cifar10-smoke-cifar10.*"))
    assert len(list(tmp_path.glob(f"tables/cifar10-smoke-cifar10-2-of-{cells}.*"))) == 4  # text, page, data, drawing
    assert "cifar10, profile smoke, data cifar10" in table
    assert "STAND-IN" not in table
    assert "these are the references and their claims" in table
    code, table, errors = answer("table", "cifar10", "--stored", "--profile", "paper", "--out", str(tmp_path))
    assert code == 1, errors  # there is none
    assert "cifar10, profile paper, data cifar10" in table
    assert downloads == []


def test_nothing_stands_in_for_a_data_set_that_nobody_knows(tmp_path: Path, answer: Answer) -> None:
    """A mistyped name was trained on the digits."""
    code, _, errors = answer("table", "cifar10", "--data", "cifar", "--out", str(tmp_path))
    assert code == 2, errors
    assert "data set 'cifar' cannot be downloaded, only cifar10 and cifar100 can" in errors
    assert not (tmp_path / "runs").exists()


def test_the_stand_in_is_announced_above_and_inside_the_table(
    tmp_path: Path, answer: Answer, downloads: list[str]
) -> None:
    code, table, _ = answer("table", "cifar10", "--cells", "simclr/untrained/*", "--out", str(tmp_path))
    assert code == 0
    assert downloads == ["CIFAR10"]
    assert table.count("STAND-IN DATA") >= 2
    assert "cifar10, profile smoke, data digits" in table
    for suffix in ("md", "html", "json"):
        text = next(tmp_path.glob(f"tables/cifar10-smoke-digits-1-of-*.{suffix}")).read_text()
        assert "STAND-IN DATA" in text
    # The same again, trained on nothing and judged from what lies there.
    code, stored, _ = answer("table", "--stored", "--cells", "simclr/untrained/*", "--out", str(tmp_path))
    assert code == 0
    assert downloads == ["CIFAR10"]
    assert "nothing was trained" in stored
    assert stored.count("STAND-IN DATA") >= 2
    assert "Other code" not in stored
    # More cells than were run: said, and failed.
    code, missing, _ = answer("table", "--stored", "--cells", "simclr/*/-/*", "--out", str(tmp_path))
    assert code == 1
    assert "NOT_RUN" in missing
    # What other code made is judged, and called that.
    (path,) = tmp_path.glob("runs/*/record.json")
    body = json.loads(path.read_text())
    body["provenance"]["source_digest"] = "0123456789abcdef"
    path.write_text(json.dumps(body | {"seal": seal(body)}))
    code, outdated, _ = answer("table", "--stored", "--cells", "simclr/untrained/*", "--out", str(tmp_path))
    assert code == 0
    assert "Other code than the present made 1 of the 1 records." in outdated


def test_the_structured_table_is_made_and_names_its_granularities(tmp_path: Path, answer: Answer) -> None:
    """It is called otherwise than its data; judged where its references for the stand-in are stored."""
    code, table, errors = answer("table", "structured", "--cells", "simclr/untrained/*", "--out", str(tmp_path))
    references = ROOT / "results/references/structured/smoke/digits"
    assert code == int(not references.exists()), errors
    assert "structured, profile smoke, data digits" in table
    assert (tmp_path / "tables/structured-smoke-digits-1-of-9.md").exists()
    code, missing, _ = answer("table", "structured", "--stored", "--cells", "simclr/*/filter/*", "--out", str(tmp_path))
    assert code == int(not references.exists())  # no record; references are shown where there are some
    assert "simclr/static_uniform/filter/d0.25" in missing


def test_a_structured_run_keeps_exactly_its_units(tmp_path: Path, answer: Answer) -> None:
    small = ("--data=digits", "--set=data.train_images=96", "--set=optimizer.epochs=4", "--out", str(tmp_path))
    code, made, errors = answer("run", "byol/synchronized/block4x4/d0.25+g0.30", *small, "--json")
    assert code == 0, errors
    facts = json.loads(made)["facts"]
    assert facts["density_prunable"] == 0.25
    assert facts["layers_left_dense"] == []


def test_a_gated_run_holds_out_images_as_its_table_does(tmp_path: Path, answer: Answer) -> None:
    small = (*TINY, "--json", "--out", str(tmp_path))
    code, made, errors = answer("run", "simclr/dual_gate/element/t1.50", *small)
    assert code == 0, errors
    body = json.loads(made)
    assert body["run"]["data"]["held_out_images"] == 128
    assert body["facts"]["train_images"] == 160 - 128
    assert body["facts"]["reduction_asked"] == 1.5


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder that calls itself CIFAR-10 and holds a few pictures of noise."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for split, count in (("train", 150), ("test", 10)):
        for name in ("cat", "dog"):
            (folder / "cifar10" / split / name).mkdir(parents=True)
            for index in range(count):
                noise = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(noise).save(folder / "cifar10" / split / name / f"{index}.png")
    return folder


def test_paper_on_a_cpu_says_how_many_hours_and_refuses(tmp_path: Path, pictures: Path, answer: Answer) -> None:
    code, _, errors = answer(
        "table",
        "--profile",
        "paper",
        "--data-dir",
        str(pictures),
        "--out",
        str(tmp_path),
        "--cells",
        "moco/dense/*",
    )
    assert code == 2
    assert "would take at least" in errors
    assert "--force" in errors


def test_only_smoke_may_fall_back_to_the_stand_in(tmp_path: Path, answer: Answer) -> None:
    code, _, errors = answer("table", "--profile", "cpu", "--out", str(tmp_path))
    assert code == 2
    assert "cifar-10-python.tar.gz" in errors
    assert "SPARSE_SSL_DATA" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table", "imagenet"), "table 'imagenet' is unknown. Did you mean 'imagenet100'"),
        (("table", "--cells", "nothing"), "no cell matches 'nothing'"),
        (("table", "--seeds", "0"), "--seeds 0"),
        (("table", "--jobs", "0"), "--jobs 0"),
        (("run", "simclr/magic/element/d0.10", "--data", "digits"), "method 'magic' is unknown"),
        (("run", "simclr/magic/element/d0.10", "--data", "no_such_folder"), "method 'magic' is unknown"),
        (("run", "simclr/rigl/elemnt/d0.10", "--data", "no_such_folder"), "unknown granularity 'elemnt'"),
        (("run", "simclr/gradual/block3x3/d0.10", "--data", "digits"), "block3x3 fits none of the 11 prunable layers"),
        (("regression", "imagenet"), "table 'imagenet' is unknown. Did you mean 'imagenet100'"),
        (("record", "imagenet"), "table 'imagenet' is unknown. Did you mean 'imagenet100'"),
        (("run", "simclr/gradual/element/d1.70", "--data", "digits"), "sparsity.density is 1.7; it must lie in (0, 1]"),
        (
            ("run", "simclr/untrained/-/d1.00", "--data", "digits", "--set", "optimizer.epochs=2"),
            "untrained takes no step",
        ),
        (("run", "swav/dense/-/d1.00", "--data", "digits"), "framework 'swav' is unknown"),
        (("run", "simclr/dual_gate/element/t9.00", "--data", "digits"), "a reduction of 9.00 is out of reach: this"),
        (
            ("run", "simclr/dual_gate/element/t1.50", "--data", "digits", "--set", "data.held_out_images=0"),
            "there are none. Set held_out_images",
        ),
        (
            ("run", "moco/dense/-/d1.00", "--data", "digits", "--set", "data.train_images=160"),
            "a queue of 64 keys does not suit batches of 32 and 160 train images",
        ),
        (("run", "simclr/dense", "--data", "digits"), "FRAMEWORK/METHOD/GRANULARITY/POINT"),
        (("run", "simclr/dense/-/d1.00", "--data", "no_such_folder"), "no_such_folder"),
    ],
)
def test_wrong_input_is_answered_with_the_rule(
    arguments: tuple[str, ...], message: str, tmp_path: Path, answer: Answer
) -> None:
    code, _, errors = answer(*arguments, "--out", str(tmp_path))
    assert code == 2
    assert message in errors
    assert "Traceback" not in errors


def test_wrong_input_ends_the_process_with_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "table", "imagenet", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_what_is_there_can_be_listed(tmp_path: Path, pictures: Path, answer: Answer) -> None:
    _, methods, _ = answer("methods")
    (line,) = (line for line in methods.splitlines() if line.startswith("rigl "))
    for said in ("Evci et al.", "2020", "forward, backward, weights", "cifar10", "google-research/rigl"):
        assert said in line
    assert "byol" in methods
    _, found, _ = answer("data", "--data-dir", str(pictures), "--out", str(tmp_path))
    assert "cifar10      folder     not verified" in found
    assert "digits       stand-in   verified" in found


@pytest.mark.parametrize(
    ("shell", "code", "errors"), [("| true", 141, ""), ("> /dev/full", 2, "error: standard output")]
)
def test_an_output_that_nobody_takes_is_no_traceback(shell: str, code: int, errors: str, tmp_path: Path) -> None:
    command = f"(sleep 0.1; {sys.executable} -m bench runs --out {tmp_path}) {shell}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.startswith(errors)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
