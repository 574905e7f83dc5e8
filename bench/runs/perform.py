"""Make what is missing of some runs, and say what was dropped, set aside or repeated, and why."""

import os
from collections.abc import Sequence

from filelock import FileLock

from bench import provenance
from bench.config.code import code_of
from bench.config.run import Run
from bench.data.dataset import Dataset, load
from bench.errors import UsageError
from bench.evaluation.transfer import data_of
from bench.lanes.choice import Hire
from bench.runs import estimate, job, lease
from bench.runs.attempt import TRAINED_ON, Task
from bench.runs.context import Context
from bench.runs.display import shown
from bench.runs.folder import NO_LOCKS, RunFolder
from bench.runs.outcomes import Outcome
from bench.runs.outdated import Outdated
from bench.runs.pool import execute
from bench.runs.record import Record
from bench.training import checkpoint


def perform(
    runs: Sequence[Run],
    context: Context,
    *,
    hire: Hire,
    force: bool = False,
    wants_gpu: bool = False,
    redo: bool = False,
) -> tuple[list[Outcome], list[str]]:
    """Return the outcomes of runs, doing only what no record of the present code and data answers, and notes.

    Args:
        runs: what is asked for, of one data set.
        context: what every worker is told.
        hire: makes those who work.
        force: start even where this machine would take days.
        wants_gpu: whether the runs have a size that is meant for GPUs: on a CPU here they need ``force``; on a GPU here
            a few steps of them are timed first, and the GPU-hours of all are a note.
        redo: make such runs again that other code has made or begun; without it they are refused, as they cost hours.

    Raises:
        UsageError: such runs are to be made on a CPU here, and there is no ``force``; or were made by other code, and
            there is no ``redo``; the folder cannot be written; or this is one of several ranks.
        Interrupted: on Ctrl-C, SIGTERM or SIGUSR1.
    """
    _require_one_rank()
    holds = require_holds(context)
    dataset = load(runs[0].data, context.data_dir, context.cache_dir)  # also builds the cache, once
    images = len(dataset.train.images)
    task = task_of(runs, context, dataset)
    found, outdated, notes = _found(runs, task)
    if wants_gpu and not redo:
        outdated.refuse()
    notes = [*holds, *dataset.remarks, *notes]
    # Most steps first: the workers then end about together.
    todo = sorted(
        {run.run_id: run for run in runs if run.run_id not in found}.values(),
        key=lambda run: estimate.steps(run, images),
        reverse=True,
    )
    lane = hire(task) if todo else None
    if lane is not None and lane.is_here and wants_gpu:
        try:
            notes += _announced(todo, images, context, jobs=lane.width, pixels=dataset.train.size, force=force)
        except BaseException:
            lane.close(is_interrupted=False, hurry=lambda: True, note=lambda _: None)
            raise
    with shown(
        todo,
        steps=lambda run: estimate.steps(run, images),
        jobs=1 if lane is None else lane.width,
        runs_dir=context.runs_dir,
    ) as progress:
        for note in notes:
            progress.note(note)  # before the hours that it announces, and again below the result
        made = {} if lane is None else execute(todo, task=task, lane=lane, progress=progress)
    return [(found | made)[run.run_id] for run in runs], notes


def task_of(runs: Sequence[Run], context: Context, dataset: Dataset) -> Task[Context]:
    """Return what is done with each run, by the present code.

    Args:
        runs: of one data set.
        context: what every worker is told.
        dataset: the images that the runs are to be made on.

    Raises:
        DataError: images that a run's encoder is to be probed on are missing or damaged.
    """
    others = {name: spec for run in runs for name, spec in data_of(run).items()}  # of one data set: one spec for a name
    probed = {name: load(spec, context.data_dir, context.cache_dir).fingerprint for name, spec in others.items()}
    return Task(
        job=job.perform,
        context=context,
        runs_dir=context.runs_dir,
        fingerprints={TRAINED_ON: dataset.fingerprint}
        | {f"transfer_{name}_fingerprint": images for name, images in probed.items()},
        source_digest=provenance.source_digest(),
    )


def _announced(todo: Sequence[Run], images: int, context: Context, *, jobs: int, pixels: int, force: bool) -> list[str]:
    """Return how many GPU-hours runs of a size for GPUs will take here.

    Raises:
        UsageError: they are to be made on a CPU, and there is no ``force``.
    """
    if not context.is_cpu:
        return estimate.announced(todo, images, context, jobs=jobs)
    if force:
        return []
    hours = estimate.hours(todo, images, jobs=jobs, pixels=pixels)
    raise UsageError(
        f"that would take at least {hours:,.1f} hours here (steps x measured milliseconds, {jobs} jobs): it is meant "
        "for GPUs: --device cuda. Use --profile smoke or cpu, or --force to start all the same."
    )


def _found(runs: Sequence[Run], task: Task[Context]) -> tuple[dict[str, Record], Outdated, list[str]]:
    """Return the records that answer runs, by run id; what other code made; and why what lies there does not answer.

    Raises:
        RecordError: a record is unreadable or another run's.
    """
    found, outdated, other_images, begun = dict[str, Record](), Outdated(), 0, list[str | None]()
    for run in {run.run_id: run for run in runs}.values():
        folder = RunFolder.of(task.runs_dir, run)
        record = task.answer(folder)
        if record is not None:
            found[run.run_id] = record
            continue
        if folder.record.exists():
            old = Record.load(folder.record)
            if task.is_of_these_images(old):
                outdated.records.append(old)
                outdated.changed |= {*code_of(run).changes(old.provenance.get("sources"))}
            else:
                other_images += 1
        begun.append(checkpoint.why_dropped(folder.checkpoint, run, task.fingerprints[TRAINED_ON]))
    notes, outdated.begun = [], begun.count("code")
    if outdated.records:
        notes.append(
            f"The code changed since {len(outdated.records)} of the records were made ({outdated.what_changed}): those "
            "were run again; the old ones are kept as record.code-DIGEST.json."
        )
    if other_images:
        notes.append(
            f"{other_images} records were made on other images and were run again; the old ones are kept as "
            "record.other-data.json."
        )
    if "code" in begun:
        notes.append(f"The code changed since {outdated.begun} of the runs were interrupted: those started anew.")
    if "images" in begun:
        notes.append(f"{begun.count('images')} of the runs were interrupted on other images: those started anew.")
    return found, outdated, notes


def _require_one_rank() -> None:
    """Refuse ``torchrun`` and the like: each of its ranks would be a command of its own.

    Raises:
        UsageError: there are several ranks.
    """
    ranks = os.environ.get("WORLD_SIZE", "1")
    if ranks != "1":
        raise UsageError(
            f"WORLD_SIZE is {ranks}: several ranks make one run together (`run CELL`), no table, no sweep. Start the "
            "command without torchrun: its jobs share out the GPUs, and several commands over one --out share the runs."
        )


def require_holds(context: Context) -> list[str]:
    """Try once whether the file system has locks, without which two commands would write the same run; else use leases.

    Returns:
        What is to be known of it, in a sentence, where there are leases.

    Raises:
        UsageError: the folder cannot be written.
    """
    runs_dir = context.runs_dir
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(runs_dir / ".lock", fallback_to_soft=False, is_singleton=False):
                has_locks = True
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            has_locks = False
        if context.leases or not has_locks:
            lease.use(runs_dir)
        if not lease.are_used(runs_dir):
            return []
    except OSError as error:
        raise UsageError(
            f"--out {runs_dir.parent}: no file can be written and locked there ({error.strerror or error}). Name a "
            "folder that can be written."
        ) from error
    why = "" if has_locks else "the file system offers no locks: "
    how = f"are held by leases, which are renewed every {lease.RENEW_SECONDS:.0f} s"
    return [
        f"{why}the runs in {runs_dir} {how}; what a killed process was at is free after {lease.LAPSE_SECONDS:.0f} s."
    ]
