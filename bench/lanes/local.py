"""The local lane: a pool of one-thread worker processes in which a run fails alone.

``multiprocessing.Pool`` hangs and ``ProcessPoolExecutor`` gives up as a whole when a worker is killed. Here each
worker has a pipe of its own: a death is heard as the end of that pipe, and costs the run it had.
"""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Generic

from bench.config.run import Run
from bench.errors import UsageError
from bench.lanes.environment import ONE_THREAD, born_with
from bench.lanes.worker import work
from bench.runs.attempt import CONTINUE, ContextT, Task
from bench.runs.interrupts import SIGNALS
from bench.runs.outcomes import Failed, Taken
from bench.runs.record import Record

_PULSE_SECONDS = 0.2
# A worker inherits nothing but what it is told. Named here, so that tests can put quicker processes in their place.
NEW_PROCESSES = multiprocessing.get_context("spawn")


class LocalLane(Generic[ContextT]):
    """Worker processes on this machine, each with one thread, and where there are GPUs with one of them.

    A worker performs one run after another, and retires after a failure: a GPU's error may stay with its process.
    """

    def __init__(
        self, task: Task[ContextT], *, jobs: int, gpus: Sequence[str] = (), grace_seconds: float = 20.0
    ) -> None:
        """Hire nobody yet.

        Args:
            task: what every worker does.
            jobs: worker processes.
            gpus: what ``CUDA_VISIBLE_DEVICES`` says to the workers, who are shared out evenly; none for the CPU.
            grace_seconds: how long interrupted workers may take to write their checkpoints.

        Raises:
            UsageError: ``jobs`` is below 1.
        """
        if jobs < 1:
            raise UsageError(f"jobs (={jobs}) must be at least 1: it is the number of worker processes.")
        self._task, self._jobs, self._grace_seconds = task, jobs, grace_seconds
        self._slots = [gpus[index % len(gpus)] if gpus else None for index in range(jobs)]
        self._team: list[_Worker] = []

    @property
    def width(self) -> int:
        """Worker processes."""
        return self._jobs

    is_here = True

    def hire(self, run: Run) -> "_Worker":
        """Give the run to a worker who has none, or to a new one."""
        self._team = [worker for worker in self._team if not worker.is_gone]
        worker = next((worker for worker in self._team if worker.run is None), None)
        if worker is None:
            free = list(self._slots)
            for other in self._team:
                free.remove(other.slot)
            worker = _Worker.born(self._task, free[0])
            self._team.append(worker)
        worker.assign(run)
        return worker

    def wait(self, seconds: float) -> None:
        """Wait until a worker speaks or dies."""
        lines = [worker.line for worker in self._team if not worker.is_gone and worker.run is not None]
        if lines:
            connection.wait(lines, timeout=seconds)
        else:
            time.sleep(seconds)

    def close(self, *, is_interrupted: bool, hurry: Callable[[], bool], note: Callable[[str], None]) -> None:
        """Tell the workers to end, wait, and kill those that have not ended in time or when the user hurries."""
        if is_interrupted:
            note(
                f"Interrupted: runs under way write a checkpoint, at most {self._grace_seconds:.0f} s. "
                "Ctrl-C again ends them at once."
            )
        deadline = time.monotonic() + self._grace_seconds
        team = [worker for worker in self._team if not worker.is_gone]
        for worker in team:
            worker.tell_to_end()
        while time.monotonic() < deadline and not hurry():
            alive = [worker.process.sentinel for worker in team if worker.process.is_alive()]
            if not alive:
                break
            connection.wait(alive, timeout=_PULSE_SECONDS)
        for worker in team:
            worker.process.kill()
            worker.end()


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker as its parent sees it, and the handle of the run it is at.

    Attributes:
        process: what was started.
        line: to speak with it.
        slot: the GPU it sees, if any.
        run: what it is at.
        is_gone: whether it was let go, or died.
    """

    process: BaseProcess
    line: Connection
    slot: str | None
    run: Run | None = None
    is_gone: bool = False

    @classmethod
    def born(cls, task: Task[ContextT], slot: str | None) -> "_Worker":
        """Start a worker."""
        line, far_end = NEW_PROCESSES.Pipe()
        process = NEW_PROCESSES.Process(target=work, args=(far_end, task))
        with _inheritance(slot):
            process.start()
        far_end.close()  # so that the worker's death ends the pipe
        return cls(process, line, slot)

    def assign(self, run: Run) -> None:
        """Hand over the next run."""
        self.run = run
        with contextlib.suppress(OSError):  # it died: the end of the pipe will say so
            self.line.send(run)

    def tell_to_end(self) -> None:
        """Ask it to write a checkpoint if need be, and to end."""
        with contextlib.suppress(OSError):
            self.line.send(None)

    def poll(self) -> Record | Failed | Taken | None:
        """Return the outcome of the run; the end of the pipe is one."""
        run = self.run
        assert run is not None
        try:
            if not self.line.poll():
                return None
            outcome: Record | Failed | Taken = self.line.recv()
        except (EOFError, OSError):
            self.end()
            reason = f"its worker {_death(self.process.exitcode)}; {CONTINUE}"
            return Failed(run_id=run.run_id, cell=run.cell, seed=run.seed, reason=reason)
        self.run = None
        if isinstance(outcome, Failed):
            self.tell_to_end()
            self.end()
        return outcome

    def end(self) -> None:
        """End the process if it has not ended."""
        self.is_gone = True
        self.process.join(timeout=1.0)
        self.process.kill()
        self.process.join()
        self.line.close()


@contextlib.contextmanager
def _inheritance(slot: str | None) -> Iterator[None]:
    """Set what a worker is born with: one thread, one GPU, and deafness to signals; this process keeps none of it."""
    resource_tracker.ensure_running()  # it would start with the first worker and unblock the signals
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with born_with(ONE_THREAD | ({} if slot is None else {"CUDA_VISIBLE_DEVICES": slot})):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _death(exit_code: int | None) -> str:
    """Say how a worker ended."""
    if exit_code is not None and exit_code < 0:
        return f"died with signal {-exit_code} ({signal.strsignal(-exit_code)})"
    return f"ended with exit status {exit_code}"
