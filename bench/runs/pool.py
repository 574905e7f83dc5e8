"""Many runs: a queue, whoever works it off, and the one who may interrupt it all."""

import collections
import functools
import time
from collections.abc import Callable, Sequence

from bench.config.run import Run
from bench.runs.attempt import ContextT, Task, look
from bench.runs.interrupts import Interrupted, Interrupts
from bench.runs.lane import Handle, Lane
from bench.runs.outcomes import Failed, Taken
from bench.runs.progress import Progress
from bench.runs.record import Record

_PULSE_SECONDS = 0.2  # between two looks at signals and at the clock
_RETRY_SECONDS = 1.0  # between two looks at a run that another process is at


def execute(runs: Sequence[Run], *, task: Task[ContextT], lane: Lane, progress: Progress) -> dict[str, Record | Failed]:
    """Perform runs, in the given order, as many at a time as the lane is wide; equal runs once.

    A run that another process is at goes to the end of the queue, so that several commands over one folder share the
    work; in the end their records are taken. Must be called in the main thread, which hears signals.

    Args:
        runs: what to do. A run whose record the present code made on the present images is not done again.
        task: what is done with each.
        lane: who does it.
        progress: is told of everything.

    Returns:
        By run id, the record, or why there is none.

    Raises:
        Interrupted: on Ctrl-C, SIGTERM or SIGUSR1, once the lane is closed. A second Ctrl-C closes it at once.
    """
    queue = _Queue(runs, task, progress)
    under_way = dict[str, tuple[Run, Handle]]()
    with Interrupts() as interrupts:
        try:
            while queue or under_way:
                while len(under_way) < lane.width and (run := queue.next_free()) is not None:
                    progress.started(run.run_id)
                    under_way[run.run_id] = run, lane.hire(run)
                for run, handle in list(under_way.values()):
                    outcome = handle.poll()
                    if outcome is not None:
                        del under_way[run.run_id]
                        queue.settle(run, outcome)
                progress.refresh()
                if interrupts.first is not None:
                    raise Interrupted(interrupts.first)
                if queue or under_way:
                    lane.wait(_PULSE_SECONDS)
        finally:
            is_interrupted = interrupts.first is not None
            lane.close(is_interrupted=is_interrupted, hurry=lambda: interrupts.presses > 1, note=progress.note)
    return queue.outcomes


class _Queue:
    """The runs that nobody is at yet, and what came of the others.

    Attributes:
        outcomes: by run id.
    """

    def __init__(self, runs: Sequence[Run], task: Task[ContextT], progress: Progress) -> None:
        self._waiting = collections.deque({run.run_id: run for run in runs}.values())
        self._look: Callable[[Run], Record | Taken | None] = functools.partial(look, task=task)
        self._progress = progress
        self._looked_at: dict[str, float] = {}
        self._holders: dict[str, str] = {}
        self.outcomes: dict[str, Record | Failed] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def next_free(self) -> Run | None:
        """Return the first run that has to be attempted and that nobody is at; take the records of others."""
        for _ in range(len(self._waiting)):
            run = self._waiting.popleft()
            if time.monotonic() - self._looked_at.get(run.run_id, -_RETRY_SECONDS) < _RETRY_SECONDS:
                self._waiting.append(run)
                continue
            found = self._look(run)
            if found is None:
                return run
            self.settle(run, found)
        self._say_who_is_waited_for()
        return None

    def settle(self, run: Run, outcome: Record | Failed | Taken) -> None:
        """Keep an outcome; a run that is taken goes to the end of the queue."""
        if isinstance(outcome, Taken):
            self._looked_at[run.run_id] = time.monotonic()
            self._waiting.append(run)
            self._progress.taken(run.run_id, outcome.holder)
        else:
            self.outcomes[run.run_id] = outcome
            self._progress.finished(run.run_id, failed=isinstance(outcome, Failed))

    def _say_who_is_waited_for(self) -> None:
        """Name each holder of a run once, now that nothing else is left to do."""
        for run in self._waiting:
            holder = self._progress.holder(run.run_id)
            if holder and self._holders.get(run.run_id) != holder:
                self._holders[run.run_id] = holder
                self._progress.note(f"{run.run_id}: waiting for {holder}, which is at the same run.")
