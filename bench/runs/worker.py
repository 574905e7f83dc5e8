"""The worker's side of the pool: perform the runs that come through a pipe, one after another.

Ctrl-C never reaches a worker; the parent hears it and says so through the pipe, and the job learns of it in
``tick``, between two steps, where its state is whole and a checkpoint is worth writing.
"""

import contextlib
import errno
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from bench.config.run import Run
from bench.runs.folder import RunFolder
from bench.runs.outcomes import Failed
from bench.runs.record import Record

ContextT = TypeVar("ContextT")
Tick = Callable[[int, int], None]
Job = Callable[[Run, ContextT, Tick], Record]

CONTINUE = "run the same command again to continue it from its checkpoint"
_TICK_SECONDS = 0.2  # between two messages of a worker: they are for eyes
_POLL_SECONDS = 0.5  # between two looks at a lock that another process holds


def work(line: Connection, job: Job[ContextT], context: ContextT, folder: Path) -> None:
    """Perform runs from the pipe until told to end, or until the parent ends."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    wire = _Wire(line)
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        while (run := line.recv()) is not None:
            wire.tell("outcome", _outcome(run, job, context, folder, wire))


@dataclass(slots=True)
class _Wire:
    """The worker's end of the pipe. A broken one is no error here: ``_die_with_parent`` is about to act."""

    line: Connection
    told_at: float = -1.0
    waiting_for: str = ""

    def tell(self, kind: str, content: object = None) -> None:
        """Send a message."""
        with contextlib.suppress(OSError):
            self.line.send((kind, content))

    def heed(self) -> None:
        """Raise ``KeyboardInterrupt`` if the parent wants this worker to end."""
        with contextlib.suppress(OSError, EOFError):
            if self.line.poll() and self.line.recv() is None:
                raise KeyboardInterrupt

    def tick(self, step: int, total_steps: int) -> None:
        """Report progress, now and then, and heed."""
        if step == total_steps or time.monotonic() - self.told_at >= _TICK_SECONDS:
            self.told_at = time.monotonic()
            self.tell("tick", (step, total_steps))
            self.heed()

    def wait(self, holder: str) -> None:
        """Let some time pass while ``holder`` has the lock; report each holder once, and heed."""
        if holder != self.waiting_for:
            self.waiting_for = holder
            self.tell("waiting", holder)
        time.sleep(_POLL_SECONDS)
        self.heed()


def _outcome(run: Run, job: Job[ContextT], context: ContextT, folder: Path, wire: _Wire) -> Record | Failed:
    """Perform one run under its lock, or take the record of the process that had the lock before."""
    home = RunFolder.of(folder, run)
    try:
        with home.held(wire.wait):
            record = home.finished()
            if record is None:
                home.error.unlink(missing_ok=True)
                wire.tell("started")
                record = job(run, context, wire.tick)
            return record
    except Exception as error:  # noqa: BLE001  # whatever it was, the other runs go on
        with contextlib.suppress(OSError):  # on a full disk the reason has to do
            home.error.write_text(traceback.format_exc(), encoding="utf-8")
        return Failed(run_id=run.run_id, cell=run.cell, seed=run.seed, reason=_reason(error, home))


def _reason(error: Exception, home: RunFolder) -> str:
    """Say in one line what happened and what to do."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"the disk is full ({error.filename or home.path}). Free some space and {CONTINUE}"
    what = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {what} (traceback: {home.error})"


def _die_with_parent() -> None:
    """End this process when the parent has ended, even by ``kill -9``: nobody would take its results."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
