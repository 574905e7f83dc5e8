"""Short runs on a GPU: whether all train there, come out the same when they are repeated, and when they are resumed."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.config.run import Run
from bench.data.dataset import load
from bench.lanes.local import LocalLane
from bench.runs import job
from bench.runs.attempt import Job
from bench.runs.context import Context
from bench.runs.display import shown
from bench.runs.gpus import visible_gpus
from bench.runs.outcomes import Failed
from bench.runs.perform import task_of
from bench.runs.pool import execute
from bench.runs.record import Record
from bench.ticks import Phase, Tick

FOLDERS = ("whole", "again", "resumed")  # of the three times that runs are made
Made = Mapping[str, Record | Failed]


@dataclass(frozen=True, slots=True)
class ShortRuns:
    """Runs that were made three times.

    Attributes:
        runs: what was made.
        whole: by run id, what came of it.
        again: the same of a second time, in another folder.
        resumed: the same, stopped half way and continued from the checkpoint.
    """

    runs: Sequence[Run]
    whole: Made
    again: Made
    resumed: Made

    @property
    def failed(self) -> list[Failed]:
        """Those without a record."""
        made = (each for times in (self.whole, self.again, self.resumed) for each in times.values())
        return [each for each in made if isinstance(each, Failed)]

    def apart(self, other: Made) -> list[str]:
        """Return the runs whose exact facts, weights among them, are not those of the first time."""
        return [run_id for run_id, first in self.whole.items() if _facts(first) != _facts(other[run_id])]

    @property
    def is_right(self) -> bool:
        """Whether all runs were made, and came out the same each time."""
        return not self.failed and not self.apart(self.again) and not self.apart(self.resumed)

    def lines(self) -> list[str]:
        """Return a paragraph of Markdown."""
        runs = len(self.runs)
        accuracies = [made.metrics["linear_top1_percent"] for made in self.whole.values() if isinstance(made, Record)]
        span = f"; linear accuracy {min(accuracies):.1f} to {max(accuracies):.1f} %" if accuracies else ""
        again, resumed = (runs - len(self.apart(other)) for other in (self.again, self.resumed))
        found = [
            f"**Runs.** {len(accuracies)} of {runs} were made{span}.",
            f"{again} came out the same when they were made again in another folder, to the digests of weights, masks",
            f"and losses; {resumed} when they were stopped half way and resumed.",
        ]
        for what, other in (("again", self.again), ("resumed", self.resumed)):
            found += [f"- not the same {what}: {run_id}" for run_id in self.apart(other)]
        return found + [f"- failed: {each.run_id}: {each.reason}" for each in self.failed]


def made_thrice(runs: Sequence[Run], context: Callable[[str], Context], *, jobs: int) -> ShortRuns:
    """Make runs, make them again, and make them with a stop half way.

    Args:
        runs: of one data set.
        context: what every worker is told, for a name: each has another folder of runs.
        jobs: at once; they share the GPUs.
    """
    acts = (job.perform, job.perform, stopped_half_way)
    made = (_made(runs, context(name), act, jobs=jobs) for name, act in zip(FOLDERS, acts, strict=True))
    return ShortRuns(runs, *made)


class _HalfWay(KeyboardInterrupt):
    """Half of the steps were taken."""


def stopped_half_way(run: Run, context: Context, tick: Tick) -> Record:
    """Do what a worker does with a run, but stop after half of its steps, and go on from the checkpoint."""

    def stop(done: int, total: int, phase: Phase = "training", /) -> None:
        tick(done, total, phase)
        if phase == "training" and done == total // 2:
            raise _HalfWay

    with contextlib.suppress(_HalfWay):
        job.perform(run, context, stop)
    return job.perform(run, context, tick)


def _made(runs: Sequence[Run], context: Context, act: Job[Context], *, jobs: int) -> Made:
    images = load(runs[0].data, context.data_dir, context.cache_dir)
    task = dataclasses.replace(task_of(runs, context, images), job=act)
    lane = LocalLane(task, jobs=jobs, gpus=() if context.is_cpu else visible_gpus())
    steps = runs[0].total_steps(len(images.train.images))
    with shown(runs, steps=lambda _: steps, jobs=jobs, runs_dir=context.runs_dir) as progress:
        return execute(runs, task=task, lane=lane, progress=progress)


def _facts(made: Record | Failed) -> object:
    return (made.facts, made.metrics) if isinstance(made, Record) else made.run_id
