"""Small jobs for the pool, importable by its workers, and a command that runs one of them."""

import errno
import fcntl
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.config.code import code_of
from bench.config.framework import SimCLRSpec
from bench.config.run import DataSpec, EncoderSpec, OptimizerSpec, Run
from bench.config.sparsity import SparsitySpec
from bench.config.views import ViewSpec
from bench.lanes import local
from bench.lanes.local import LocalLane
from bench.lanes.worker import work
from bench.provenance import source_digest
from bench.runs import lease
from bench.runs.attempt import Job, Task
from bench.runs.display import shown
from bench.runs.interrupts import Interrupted
from bench.runs.pool import execute
from bench.runs.record import Record
from bench.ticks import Tick
from tests.forked import Forks

STEPS = 3000  # a tenth of a second each: what is waited for must not end by itself, however slow the machine
PATIENCE = 300.0  # seconds, the imports of a new process among them: on a machine with other work, a minute
IMAGES = "feed"  # the fingerprint of the images that all these runs are made on


def a_task(folder: Path, job: Job[Path]) -> Task[Path]:
    images = {"data_fingerprint": IMAGES}
    return Task(job=job, context=folder, runs_dir=folder, fingerprints=images, source_digest=source_digest())


def a_run(seed: int, method: str = "dense") -> Run:
    return Run(
        framework=SimCLRSpec(hidden_dim=8, output_dim=4, temperature=0.2),
        sparsity=SparsitySpec(method=method),
        data=DataSpec(name="digits", train_images=0),
        encoder=EncoderSpec(name="resnet-9", width=0.125),
        views=ViewSpec(pipeline="batched-v1", recipe="digits"),
        optimizer=OptimizerSpec(name="sgd", learning_rate=0.1, weight_decay=0.0, batch_images=8, epochs=1),
        seed=seed,
    )


def saved(run: Run, folder: Path, source: str | None = None, images: str = IMAGES) -> Record:
    record = Record(
        run=run,
        metrics={},
        facts={
            "process": os.getpid(),
            "parent": parent.pid if (parent := multiprocessing.parent_process()) else None,
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "deaf": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()),
            "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "data_fingerprint": images,
        },
        provenance={"source_digest": source or code_of(run).digest},
    )
    record.save(folder / run.run_id / "record.json")
    return record


def succeed(run: Run, folder: Path, tick: Tick) -> Record:
    tick(1, 1)
    return saved(run, folder)


def seed_1_is_killed(run: Run, folder: Path, tick: Tick) -> Record:
    if run.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return succeed(run, folder, tick)


def seed_1_dies_once_and_seed_2_always(run: Run, folder: Path, tick: Tick) -> Record:
    """Be killed in the middle of a run, and go on from what it left."""
    checkpoint = folder / run.run_id / "checkpoint"
    if run.seed == 2 or (run.seed == 1 and not checkpoint.exists()):
        checkpoint.write_text("1", encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)
    return succeed(run, folder, tick)


def seed_1_exits(run: Run, folder: Path, tick: Tick) -> Record:
    if run.seed == 1:
        os._exit(7)
    return succeed(run, folder, tick)


def seed_1_raises(run: Run, folder: Path, tick: Tick) -> Record:
    if run.seed == 1:
        raise ValueError("the moon\nis full")
    return succeed(run, folder, tick)


def seed_1_fills_the_disk(run: Run, folder: Path, tick: Tick) -> Record:
    if run.seed == 1:
        (folder / run.run_id / "error.txt").mkdir()  # the traceback cannot be written either
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "checkpoint.pt")
    return succeed(run, folder, tick)


def last(run: Run, folder: Path, tick: Tick) -> Record:
    """Take minutes; leave a checkpoint when interrupted."""
    home = folder / run.run_id
    (home / f"{os.getpid()}.pid").touch()
    step = 0
    try:
        while step < STEPS:
            time.sleep(0.1)
            step += 1
            tick(step, STEPS)
    except KeyboardInterrupt:
        (home / "checkpoint").write_text(str(step), encoding="utf-8")
        raise
    return saved(run, folder)


def never_listen(run: Run, folder: Path, _tick: Tick) -> Record:
    """Take ten minutes in one step."""
    (folder / run.run_id / f"{os.getpid()}.pid").touch()
    time.sleep(600)
    return saved(run, folder)


def take_a_moment(run: Run, folder: Path, tick: Tick) -> Record:
    """Take half a second; say who was at it."""
    time.sleep(0.5)
    with (folder / "made.txt").open("a", encoding="utf-8") as stream:
        stream.write(f"{run.seed}\n")
    return succeed(run, folder, tick)


def meet_the_other_command(run: Run, folder: Path, tick: Tick) -> Record:
    """Take half a second once two commands are at runs of theirs; say who was at it."""
    parent = multiprocessing.parent_process()
    assert parent
    (folder / f"{parent.pid}.command").touch()
    assert happens(lambda: len(list(folder.glob("*.command"))) == 2)
    return take_a_moment(run, folder, tick)


def count_up(run: Run, folder: Path, tick: Tick) -> Record:
    """Count for minutes, a tenth of a second a step; but a second time at once, from the checkpoint on."""
    home = folder / run.run_id
    path = home / "checkpoint"
    step = int(path.read_text(encoding="utf-8")) if path.exists() else 0
    with (home / "starts.txt").open("a", encoding="utf-8") as stream:
        stream.write(f"{step}\n")
    pause = 0.0 if step else 0.1
    while step < STEPS:
        time.sleep(pause)
        step += 1
        try:
            tick(step, STEPS)
        except KeyboardInterrupt:
            path.write_text(str(step), encoding="utf-8")
            raise
    return saved(run, folder)


def happens(condition: Callable[[], bool], *, seconds: float = PATIENCE) -> bool:
    """Return whether a condition comes true in time (in seconds)."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


JOBS: dict[str, Job[Path]] = {
    each.__name__: each for each in (last, never_listen, take_a_moment, meet_the_other_command)
}


def command(folder: Path, job: str, grace_seconds: float, seeds: int) -> None:
    """Run a job for some seeds in two workers; exit like the command line of bench, and say which runs were made."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is born with it ignored
    local.NEW_PROCESSES = Forks  # type: ignore[assignment]
    runs = [a_run(seed) for seed in range(seeds)]
    task = a_task(folder, JOBS[job])
    with shown(runs, steps=lambda _: STEPS, jobs=2, runs_dir=folder, console=Console()) as progress:
        lane = LocalLane(task, jobs=2, grace_seconds=grace_seconds)
        try:
            made = execute(runs, task=task, lane=lane, progress=progress)
        except Interrupted as interrupted:
            sys.exit(interrupted.exit_code)
    sys.stdout.write(f"records {sum(isinstance(outcome, Record) for outcome in made.values())}\n")


def command_without_locks(folder: Path, job: str, seeds: int) -> None:
    """Be ``command`` on a file system without locks, with leases that lapse after seconds."""
    _lose_locks()
    setattr(local, "work", work_without_locks)  # noqa: B010 - as below
    command(folder, job, 120.0, seeds)


def work_without_locks(line: Connection, task: Task[Any]) -> None:
    """Be a worker on such a file system."""
    _lose_locks()
    work(line, task)


def _lose_locks() -> None:
    def missing(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    setattr(fcntl, "flock", missing)  # noqa: B010 - mypy keeps the signature
    lease.RENEW_SECONDS, lease.LAPSE_SECONDS = 0.5, 6.0
