import contextlib
import dataclasses
import io
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from bench.errors import UsageError
from bench.lanes import local
from bench.lanes.local import LocalLane
from bench.runs.attempt import Job, attempt
from bench.runs.display import shown
from bench.runs.folder import RunFolder
from bench.runs.outcomes import Failed, Taken
from bench.runs.pool import execute
from bench.runs.record import Record, RecordError
from tests.forked import Running
from tests.unit.bench.runs import pool_jobs
from tests.unit.bench.runs.pool_jobs import a_run, happens


def outcomes(
    folder: Path,
    job: Job[Path],
    *,
    seeds: int = 3,
    jobs: int = 2,
    gpus: tuple[str, ...] = (),
    said: io.StringIO | None = None,
) -> tuple[dict[int, Record | Failed], str]:
    """Return the outcome of each seed, and what was shown; ``said`` has it meanwhile."""
    runs, task = [a_run(seed) for seed in range(seeds)], pool_jobs.a_task(folder, job)
    console = Console(file=said or io.StringIO(), width=200)
    with shown(runs, steps=lambda _: 1, jobs=jobs, runs_dir=folder, console=console) as progress:
        made = execute(runs, task=task, lane=LocalLane(task, jobs=jobs, gpus=gpus), progress=progress)
    assert isinstance(console.file, io.StringIO)
    return {run.seed: made[run.run_id] for run in runs}, console.file.getvalue()


def test_every_run_has_its_record(tmp_path: Path) -> None:
    made, text = outcomes(tmp_path, pool_jobs.succeed)
    assert {seed: RunFolder.of(tmp_path, a_run(seed)).finished() for seed in range(3)} == made
    assert "runs 3/3, done" in text


def test_workers_have_one_thread_and_one_gpu_and_are_deaf_and_the_parent_is_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "NEW_PROCESSES", multiprocessing.get_context("spawn"))  # it is about a worker's birth
    environment, mask = dict(os.environ), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    os.environ["OMP_NUM_THREADS"] = "3"
    try:
        made, _ = outcomes(tmp_path, pool_jobs.succeed, seeds=1, gpus=("GPU-b0",))
        assert os.environ["OMP_NUM_THREADS"] == "3"
    finally:
        os.environ["OMP_NUM_THREADS"] = environment["OMP_NUM_THREADS"]
    assert dict(os.environ) == environment
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    record = made[0]
    assert isinstance(record, Record)
    assert (record.facts["threads"], record.facts["deaf"], record.facts["gpu"]) == ("1", True, "GPU-b0")


def test_a_worker_lives_through_all_its_runs(tmp_path: Path) -> None:
    made, _ = outcomes(tmp_path, pool_jobs.succeed, jobs=1)
    records = [record for record in made.values() if isinstance(record, Record)]
    assert len(records) == 3
    assert len({record.facts["process"] for record in records}) == 1


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (
            pool_jobs.seed_1_is_killed,
            "its worker died with signal 9 (Killed); run the same command again to continue",
        ),
        (pool_jobs.seed_1_exits, "its worker ended with exit status 7; run the same command again"),
        (pool_jobs.seed_1_raises, "ValueError: the moon is full (traceback: "),
        (
            pool_jobs.seed_1_fills_the_disk,
            "the disk is full (checkpoint.pt). Free some space and run the same command",
        ),
    ],
)
def test_a_run_fails_alone(tmp_path: Path, job: Job[Path], reason: str) -> None:
    made, _ = outcomes(tmp_path, job, seeds=4, jobs=1)
    failed = made.pop(1)
    assert isinstance(failed, Failed)
    assert failed.reason.startswith(reason)
    assert (failed.run_id, failed.cell, failed.seed) == (a_run(1).run_id, a_run(1).cell, 1)
    assert set(made) == {0, 2, 3}
    processes = [outcome.facts["process"] for outcome in made.values() if isinstance(outcome, Record)]
    assert len(processes) == 3
    assert processes[0] != processes[1] == processes[2]  # a worker retires after a failure


def test_the_traceback_of_a_failed_run_stays_until_it_succeeds(tmp_path: Path) -> None:
    outcomes(tmp_path, pool_jobs.seed_1_raises)
    error = tmp_path / a_run(1).run_id / "error.txt"
    assert "seed_1_raises" in error.read_text(encoding="utf-8")
    outcomes(tmp_path, pool_jobs.succeed)
    assert not error.exists()


def test_equal_runs_are_made_once_and_no_run_is_no_work(tmp_path: Path) -> None:
    runs, task = [a_run(0), a_run(0)], pool_jobs.a_task(tmp_path, pool_jobs.succeed)
    console = Console(file=io.StringIO())
    with shown(runs, steps=lambda _: 1, jobs=1, runs_dir=tmp_path, console=console) as progress:
        made = execute(runs, task=task, lane=LocalLane(task, jobs=1), progress=progress)
        assert list(made) == [a_run(0).run_id]
        assert execute([], task=task, lane=LocalLane(task, jobs=1), progress=progress) == {}
    with pytest.raises(UsageError, match="at least 1"):
        LocalLane(task, jobs=0)


def test_gpus_are_shared_out_evenly(tmp_path: Path) -> None:
    lane = LocalLane(pool_jobs.a_task(tmp_path, pool_jobs.succeed), jobs=5, gpus=("0", "1"))
    assert lane._slots == ["0", "1", "0", "1", "0"]


def never() -> None:
    """Heed nobody."""


def test_a_record_is_taken_only_by_the_code_and_for_the_images_that_made_it(tmp_path: Path) -> None:
    task, runs = pool_jobs.a_task(tmp_path, pool_jobs.succeed), [a_run(seed) for seed in range(3)]
    record = pool_jobs.saved(runs[0], tmp_path)
    pool_jobs.saved(runs[1], tmp_path, source="0123456789abcdef")
    other = pool_jobs.saved(runs[2], tmp_path, images="other images")
    homes = [RunFolder.of(tmp_path, run) for run in runs]
    assert [task.answer(home) for home in homes] == [record, None, None]
    made = [attempt(run, task, never) for run in runs]
    assert made[0] == record
    assert all(isinstance(each, Record) and task.answer(home) == each for each, home in zip(made, homes, strict=True))
    assert Record.load(homes[2].path / "record.other-data.json") == other  # not lost either


def test_a_run_that_is_held_is_left_alone_and_litter_of_killed_processes_goes(tmp_path: Path) -> None:
    task, home = pool_jobs.a_task(tmp_path, pool_jobs.succeed), RunFolder.of(tmp_path, a_run(0))
    litter = [home.path / ".checkpoint.pt.0123", home.progress]
    with home.held(wait=pytest.fail):
        for path in litter:
            path.touch()
        taken = attempt(a_run(0), task, never)
        assert isinstance(taken, Taken)
        assert taken.holder.startswith(f"process {os.getpid()} on ")
        assert all(path.exists() for path in litter)
    assert isinstance(attempt(a_run(0), task, never), Record)
    assert not any(path.exists() for path in litter)


def test_code_that_was_edited_meanwhile_makes_no_run(tmp_path: Path) -> None:
    task = dataclasses.replace(pool_jobs.a_task(tmp_path, pool_jobs.succeed), source_digest="of this morning")
    failed = attempt(a_run(0), task, never)
    assert isinstance(failed, Failed)
    assert "the code was edited while the command was running" in failed.reason
    assert not RunFolder.of(tmp_path, a_run(0)).record.exists()


def test_another_runs_record_is_refused(tmp_path: Path) -> None:
    pool_jobs.saved(a_run(0), tmp_path)
    (tmp_path / a_run(0).run_id).rename(tmp_path / a_run(1).run_id)
    with pytest.raises(RecordError, match="is the record of"):
        RunFolder.of(tmp_path, a_run(1)).finished()


def test_a_run_of_another_process_is_waited_for_and_its_record_taken(tmp_path: Path) -> None:
    held, said = threading.Event(), io.StringIO()

    def other_process() -> None:
        with RunFolder.of(tmp_path, a_run(0)).held(wait=lambda _: None):
            held.set()
            happens(lambda: "waiting for process" in said.getvalue())
            pool_jobs.saved(a_run(0), tmp_path)

    other = threading.Thread(target=other_process)
    other.start()
    held.wait()
    made, text = outcomes(tmp_path, pool_jobs.seed_1_is_killed, seeds=1, said=said)
    other.join()
    record = made[0]
    assert isinstance(record, Record)
    assert record.facts["process"] == os.getpid()
    assert text.count(f"waiting for process {os.getpid()} on ") == 1


def hold(folder: Path) -> None:
    with RunFolder(folder).held(wait=pytest.fail):
        (folder / "held").touch()
        time.sleep(600)


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    with Running(hold, tmp_path, output=tmp_path / "output") as holder:
        assert happens((tmp_path / "held").exists)
        waited: list[str] = []

        def wait(name: str) -> None:
            waited.append(name)
            holder.kill()
            holder.communicate()

        with RunFolder(tmp_path).held(wait):
            assert len(waited) == 1
            assert waited[0].startswith(f"process {holder.pid} on ")


def started(folder: Path, job: str, grace_seconds: float = 120.0, seeds: int = 2, name: str = "command") -> Running:
    """Start the pool as a command in a process group of its own."""
    return Running(pool_jobs.command, folder, job, grace_seconds, seeds, output=folder / name)


@contextlib.contextmanager
def command(folder: Path, job: str, grace_seconds: float = 120.0) -> Iterator[tuple[Running, list[int]]]:
    """Start the pool as a command; give it and its two busy workers."""
    with started(folder, job, grace_seconds) as process:
        assert happens(lambda: len(list(folder.glob("*/*.pid"))) == 2)
        yield process, [int(path.stem) for path in folder.glob("*/*.pid")]


def test_two_commands_over_one_folder_share_the_runs_and_make_none_twice(tmp_path: Path) -> None:
    with (
        started(tmp_path, "meet_the_other_command", seeds=8, name="first") as first,
        started(tmp_path, "meet_the_other_command", seeds=8, name="second") as second,
    ):
        texts = [process.communicate() for process in (first, second)]
    assert [errors for _, errors in texts] == ["", ""]
    assert all("records 8" in text for text, _ in texts)  # each takes the other's records
    made = (tmp_path / "made.txt").read_text().split()
    assert sorted(map(int, made)) == list(range(8))
    makers = [Record.load(path).facts["parent"] for path in tmp_path.glob("*/record.json")]
    assert set(makers) == {first.pid, second.pid}


def gone(processes: list[int]) -> bool:
    return not any(is_there(number) for number in processes)


def is_there(number: int) -> bool:
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    with command(tmp_path, "last") as (process, workers):
        process.kill()
        assert happens(lambda: gone(workers))
        assert not list(tmp_path.glob("*/error.txt"))


@pytest.mark.parametrize(
    ("number", "whole_group"), [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGUSR1, False)]
)
def test_an_interrupted_run_leaves_a_checkpoint(tmp_path: Path, number: signal.Signals, *, whole_group: bool) -> None:
    with command(tmp_path, "last") as (process, workers):
        if whole_group:
            process.kill_group(number)
        else:
            process.send_signal(number)
        text, errors = process.communicate()
        assert process.returncode == 128 + number
        assert errors == ""
        assert "Interrupted" in text
        assert gone(workers)
        assert len(list(tmp_path.glob("*/checkpoint"))) == 2
        assert not list(tmp_path.glob("*/error.txt"))


def test_a_worker_that_does_not_listen_is_killed_after_its_grace(tmp_path: Path) -> None:
    with command(tmp_path, "never_listen", grace_seconds=1.0) as (process, workers):
        process.kill_group(signal.SIGINT)
        _, errors = process.communicate()
        assert (process.returncode, errors) == (130, "")
        assert gone(workers)


def test_a_second_interrupt_ends_everything_at_once(tmp_path: Path) -> None:
    with command(tmp_path, "never_listen", grace_seconds=1000.0) as (process, workers):
        process.kill_group(signal.SIGINT)
        said = tmp_path / "command/stdout.txt"
        assert happens(lambda: "Interrupted" in said.read_text())  # it has heard the first one
        assert process.poll() is None
        assert not gone(workers)
        process.kill_group(signal.SIGINT)
        _, errors = process.communicate()
        assert (process.returncode, errors) == (130, "")
        assert gone(workers)
