"""Make what is missing of some runs, and say what was dropped, set aside or repeated."""

from collections.abc import Sequence
from pathlib import Path

from bench.config.run import Run
from bench.data.dataset import load
from bench.errors import UsageError
from bench.runs import estimate, job
from bench.runs.context import Context
from bench.runs.folder import RunFolder, stored
from bench.runs.outcomes import Outcome
from bench.runs.pool import execute
from bench.runs.progress import shown
from bench.runs.record import Record
from bench.training import checkpoint


def perform(runs: Sequence[Run], context: Context, *, jobs: int, force: bool) -> tuple[list[Outcome], list[str]]:
    """Return the outcomes of runs, doing only what no record of the present code and data answers, and notes.

    Raises:
        UsageError: there is something to do on a CPU, and no ``force``.
    """
    dataset = load(runs[0].data, context.data_dir, context.cache_dir)  # also builds the cache, once
    images = len(dataset.train.images)
    notes = _set_aside(runs, context.runs_dir, dataset.fingerprint)
    found = stored(runs, context.runs_dir)
    # Most steps first: the workers then end about together.
    todo = sorted(found.missing + found.outdated, key=lambda run: estimate.steps(run, images), reverse=True)
    if found.outdated:
        notes.append(f"The code changed since {len(found.outdated)} of the records were made: those were run again.")
    begun = sum(checkpoint.is_of_other_code(RunFolder.of(context.runs_dir, run).checkpoint) for run in todo)
    if begun:
        notes.append(f"The code changed since {begun} of the runs were interrupted: those started anew.")
    if todo and context.is_cpu and not force:
        hours = estimate.hours(todo, images, jobs=jobs)
        raise UsageError(
            f"that would take at least {hours:,.1f} hours here (steps x measured milliseconds, {jobs} jobs): "
            "it is meant for GPUs: --device cuda. Use --profile smoke or cpu, or --force to start all the same."
        )
    with shown(todo, steps=lambda run: estimate.steps(run, images), jobs=jobs) as progress:
        made = execute(
            todo,
            job=job.perform,
            context=context,
            folder=context.runs_dir,
            jobs=jobs,
            progress=progress,
        )
    return [(found.records | made)[run.run_id] for run in runs], notes


def _set_aside(runs: Sequence[Run], runs_dir: Path, fingerprint: str) -> list[str]:
    """Rename records that were made on other images, so that they are run again; say so."""
    aside = 0
    for run in runs:
        folder = RunFolder.of(runs_dir, run)
        if folder.record.exists() and Record.load(folder.record).facts["data_fingerprint"] != fingerprint:
            folder.set_aside("other-data")
            aside += 1
    return [f"{aside} records were made on other images and were run again."] if aside else []
