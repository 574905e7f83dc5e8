"""One attempt at a run in a process of a cluster, which is told to stop by signals: it ends its step first."""

from collections.abc import Sequence
from signal import Signals

from bench.config.run import Run
from bench.runs.attempt import ContextT, Task, attempt
from bench.runs.interrupts import Interrupted, Interrupts
from bench.runs.outcomes import Failed, Taken
from bench.runs.record import Record


def attempt_heeding(run: Run, task: Task[ContextT], signals: Sequence[Signals]) -> Record | Failed | Taken:
    """Attempt a run; at one of these signals, end the step, write a checkpoint, and stop.

    Must be called in the main thread, which hears signals.

    Raises:
        Interrupted: at a signal, with its number; a checkpoint is there where one was worth writing.
    """
    with Interrupts(signals) as interrupts:

        def heed() -> None:
            if interrupts.first is not None:
                raise Interrupted(interrupts.first)

        return attempt(run, task, heed)
