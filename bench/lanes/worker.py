"""The worker's side of the local lane: attempt the runs that come through a pipe, one after another.

Ctrl-C never reaches a worker; the parent hears it and says so through the pipe, and the job learns of it in
``tick``, between two steps, where its state is whole and a checkpoint is worth writing.
"""

import contextlib
import multiprocessing
import os
import threading
from multiprocessing.connection import Connection

from bench.runs.attempt import ContextT, Task, attempt


def work(line: Connection, task: Task[ContextT]) -> None:
    """Attempt runs from the pipe until told to end, or until the parent ends."""
    threading.Thread(target=_die_with_parent, daemon=True).start()

    def heed() -> None:
        """Raise ``KeyboardInterrupt`` if the parent wants this worker to end."""
        with contextlib.suppress(OSError, EOFError):
            if line.poll() and line.recv() is None:
                raise KeyboardInterrupt

    # A broken pipe is no error here: ``_die_with_parent`` is about to act.
    with contextlib.suppress(KeyboardInterrupt, EOFError, OSError):
        while (run := line.recv()) is not None:
            line.send(attempt(run, task, heed))


def _die_with_parent() -> None:
    """End this process when the parent has ended, even by ``kill -9``: nobody would take its results."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
