"""Small jobs for the pool, importable by its workers, and a command line that runs one of them."""

import errno
import os
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from bench.config.run import DataSpec, EncoderSpec, FrameworkSpec, OptimizerSpec, Run, SparsitySpec, ViewSpec
from bench.provenance import source_digest
from bench.runs.pool import execute
from bench.runs.progress import shown
from bench.runs.record import Record
from bench.runs.worker import Tick

STEPS = 600


def a_run(seed: int, method: str = "dense") -> Run:
    return Run(
        framework=FrameworkSpec(name="simclr", hidden_dim=8, output_dim=4),
        sparsity=SparsitySpec(method=method),
        data=DataSpec(name="digits", train_images=0),
        encoder=EncoderSpec(name="resnet-9", width=0.125),
        views=ViewSpec(pipeline="batched-v1", recipe="digits"),
        optimizer=OptimizerSpec(name="sgd", learning_rate=0.1, weight_decay=0.0, batch_images=8, epochs=1),
        seed=seed,
    )


def saved(run: Run, folder: Path, source: str | None = None) -> Record:
    record = Record(
        run_id=run.run_id,
        run={},
        metrics={},
        facts={
            "process": os.getpid(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "deaf": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        },
        provenance={"source_digest": source or source_digest()},
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
    """Take a minute; leave a checkpoint when interrupted."""
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
    """Take a minute in one step."""
    (folder / run.run_id / f"{os.getpid()}.pid").touch()
    time.sleep(60)
    return saved(run, folder)


def main(folder: Path, job: str, grace_seconds: float) -> int:
    """Run a job for two seeds in two workers; exit like the command line of bench."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is born with it ignored
    runs = [a_run(seed) for seed in range(2)]
    with shown(runs, steps=lambda _: STEPS, jobs=2, console=Console()) as progress:
        try:
            execute(
                runs,
                job={"last": last, "never_listen": never_listen}[job],
                context=folder,
                folder=folder,
                jobs=2,
                progress=progress,
                grace_seconds=grace_seconds,
            )
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
