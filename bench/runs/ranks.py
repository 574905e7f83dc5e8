"""One run on several ranks, outside the pool: ``torchrun --nproc-per-node N -m bench run CELL ...``.

Rank 0 alone locks the run's folder, scores the encoder and writes; the others train with it and end. What goes wrong
on one rank ends it with an error, on which torchrun ends the others: nothing finished is lost, and the same command
goes on from the last checkpoint.
"""

import dataclasses
import signal
import warnings

from bench.config.run import Run
from bench.runs.attempt import Task, attempt
from bench.runs.context import Context
from bench.runs.interrupts import Interrupted, Interrupts
from bench.runs.job import perform, train
from bench.runs.outcomes import Failed, Taken
from bench.runs.record import Record
from bench.runs.world import World
from bench.ticks import Phase, Tick, silent
from bench.training import parts, ranks


def perform_together(run: Run, task: Task[Context], world: World) -> Record | Failed | Taken | None:
    """Make one run on all ranks; every rank calls this.

    Args:
        run: the run.
        task: what a rank alone would do; its context names the ranks (``World.context``).
        world: the ranks.

    Returns:
        On rank 0 what came of it; on the others None.

    Raises:
        Interrupted: any rank was told to stop; rank 0 has written a checkpoint.
        RunError: the ranks do not divide a batch.
    """
    context = task.context
    fabric = parts.fabric_for(run, device=context.device, devices=context.devices, nodes=context.nodes)
    with Interrupts() as interrupts, warnings.catch_warnings():
        # Of a 1x1 kernel's gradient, whose strides along sides of 1 are any: the bytes lie as DDP wants them.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        if world.rank:
            if fabric.broadcast(False):  # what rank 0 says
                train(run, context, _Together(silent, interrupts))
            return None
        begun = list[bool]()

        def lead(run: Run, context: Context, tick: Tick) -> Record:
            begun.append(fabric.broadcast(True))
            return perform(run, context, _Together(tick, interrupts))

        made = attempt(run, dataclasses.replace(task, job=lead), heed=_never)
        if not begun:
            fabric.broadcast(False)
        return made


def _never() -> None:
    """Stop for nobody: ``_Together`` does, on all ranks after the same step."""


class _Together:
    """A tick that stops all ranks after the same step, whichever was told to stop."""

    def __init__(self, tell: Tick, interrupts: Interrupts) -> None:
        self._tell, self._interrupts = tell, interrupts

    def __call__(self, done: int, total: int, phase: Phase = "training", /) -> None:
        """Tell, and stop: between two steps together; while rank 0 scores alone, alone; else never."""
        self._tell(done, total, phase)
        if phase == "settling":  # in the middle of a step
            return
        heard = self._interrupts.first
        is_heard = heard is not None
        if ranks.agreed(is_heard) if phase == "training" else is_heard:
            raise Interrupted(heard or signal.SIGTERM)
