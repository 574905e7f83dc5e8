"""Many runs: a pool of one-thread worker processes in which a run fails alone.

``multiprocessing.Pool`` hangs and ``ProcessPoolExecutor`` gives up as a whole when a worker is killed. Here each
worker has a pipe of its own: a death is heard as the end of that pipe, and costs the run it had.
"""

import collections
import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Self

from bench.config.run import Run
from bench.runs.outcomes import Failed
from bench.runs.progress import Progress
from bench.runs.record import Record
from bench.runs.worker import CONTINUE, ContextT, Job, work

_PULSE_SECONDS = 0.2  # between two looks at Ctrl-C and at the clock
_THREAD_VARIABLES = (  # read when the numeric libraries are imported, so a worker must be born with them
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def execute(
    runs: Sequence[Run],
    *,
    job: Job[ContextT],
    context: ContextT,
    folder: Path,
    jobs: int,
    progress: Progress,
    grace_seconds: float = 20.0,
) -> dict[str, Record | Failed]:
    """Perform runs, in the given order, ``jobs`` at a time; equal runs once.

    Must be called in the main thread, which hears Ctrl-C.

    Args:
        runs: what to do. A run whose record the present code made is not done again.
        job: a function found by its import path. It saves its record as ``folder/RUN_ID/record.json``, returns
            it, and calls ``tick(step, total_steps)`` after every step. ``tick`` raises ``KeyboardInterrupt`` if
            the user wants to stop: write a checkpoint and let it pass.
        context: what every call of ``job`` is given; picklable.
        folder: holds one folder per run.
        jobs: worker processes.
        progress: is told of everything.
        grace_seconds: how long interrupted workers may take to write their checkpoints.

    Returns:
        By run id, the record, or why there is none.

    Raises:
        KeyboardInterrupt: on Ctrl-C, once the workers have ended. A second Ctrl-C ends them at once.
        ValueError: ``jobs`` is below 1.
    """
    if jobs < 1:
        raise ValueError(f"jobs (={jobs}) must be at least 1: it is the number of worker processes.")
    queue = collections.deque({run.run_id: run for run in runs}.values())
    total, outcomes = len(queue), dict[str, Record | Failed]()
    team: list[_Worker] = []
    with _CtrlC() as ctrl_c:
        try:
            while len(outcomes) < total:
                while queue and len(team) < jobs:
                    team.append(_Worker.hired(queue.popleft(), job, context, folder))
                for worker in _speaking(team):
                    outcome = worker.heard(progress)
                    if outcome is None:
                        continue
                    outcomes[outcome.run_id] = outcome
                    progress.finished(outcome.run_id, failed=isinstance(outcome, Failed))
                    if worker.is_gone:
                        team.remove(worker)
                    else:
                        worker.assign(queue.popleft() if queue else None)
                progress.refresh()
                if ctrl_c.presses:
                    progress.note(
                        f"Interrupted: runs under way write a checkpoint, at most {grace_seconds:.0f} s. "
                        "Ctrl-C again ends them at once."
                    )
                    raise KeyboardInterrupt
        finally:
            _dismiss(team, grace_seconds, ctrl_c)
    return outcomes


class _CtrlC:
    """Ctrl-C, counted rather than raised: an exception between any two lines would leave workers behind."""

    presses = 0

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is not signal.SIG_IGN:  # as in a background job of a script
            signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _press(self, _signal: int, _frame: FrameType | None) -> None:
        self.presses += 1


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker as its parent sees it. ``run`` is what it is at; ``None`` once it was told to end."""

    process: SpawnProcess
    line: Connection
    run: Run | None = None
    is_gone: bool = False

    @classmethod
    def hired(cls, run: Run, job: Job[ContextT], context: ContextT, folder: Path) -> "_Worker":
        """Start a worker with its first run."""
        spawn = multiprocessing.get_context("spawn")
        line, far_end = spawn.Pipe()
        process = spawn.Process(target=work, args=(far_end, job, context, folder))
        with _inheritance():
            process.start()
        far_end.close()  # so that the worker's death ends the pipe
        worker = cls(process, line)
        worker.assign(run)
        return worker

    def assign(self, run: Run | None) -> None:
        """Hand over the next run, or ``None``: write a checkpoint if need be, and end."""
        self.run = run
        with contextlib.suppress(OSError):  # it died: the end of the pipe will say so
            self.line.send(run)

    def heard(self, progress: Progress) -> Record | Failed | None:
        """Read one message and return the outcome if it was that; the end of the pipe is one."""
        run = self.run
        assert run is not None
        try:
            kind, content = self.line.recv()
        except (EOFError, OSError):
            self.is_gone = True
            self.end()
            reason = f"its worker {_death(self.process.exitcode)}; {CONTINUE}"
            return Failed(run_id=run.run_id, cell=run.cell, seed=run.seed, reason=reason)
        match kind:
            case "started":
                progress.started(run.run_id)
            case "tick":
                progress.tick(run.run_id, *content)
            case "waiting":
                progress.note(f"{run.run_id}: waiting for {content}, which is at the same run.")
            case _:
                outcome: Record | Failed = content
                return outcome
        return None

    def end(self) -> None:
        """End the process if it has not ended."""
        self.process.join(timeout=1.0)
        self.process.kill()
        self.process.join()
        self.line.close()


def _speaking(team: Sequence[_Worker]) -> list[_Worker]:
    """Return the workers with something to hear, after a pulse at the latest."""
    busy = [worker for worker in team if worker.run is not None]
    ready = connection.wait([worker.line for worker in busy], timeout=_PULSE_SECONDS)
    return [worker for worker in busy if worker.line in ready]


def _dismiss(team: Sequence[_Worker], grace_seconds: float, ctrl_c: _CtrlC) -> None:
    """Tell the workers to end, wait, and kill those that have not ended in time or at a second Ctrl-C."""
    deadline = time.monotonic() + grace_seconds
    for worker in team:
        worker.assign(None)
    while time.monotonic() < deadline and ctrl_c.presses < 2:
        alive = [worker.process.sentinel for worker in team if worker.process.is_alive()]
        if not alive:
            break
        connection.wait(alive, timeout=_PULSE_SECONDS)
    for worker in team:
        worker.process.kill()
        worker.end()


@contextlib.contextmanager
def _inheritance() -> Iterator[None]:
    """Set what a worker is born with: one thread, and deafness to Ctrl-C; this process keeps neither."""
    resource_tracker.ensure_running()  # it would start with the first worker and unblock the signal
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _death(exit_code: int | None) -> str:
    """Say how a worker ended."""
    if exit_code is not None and exit_code < 0:
        return f"died with signal {-exit_code} ({signal.strsignal(-exit_code)})"
    return f"ended with exit status {exit_code}"
