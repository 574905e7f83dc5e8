"""What the command line does: find the data, run what is missing, judge, show. No statistics, no training."""

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.commands.place import Place, UsageError, resolve_images, stored_images
from bench.config.profiles import PROFILES
from bench.config.run import Run, SparsitySpec
from bench.data import dataset as data_dataset
from bench.data.digits import STAND_IN
from bench.frameworks import FRAMEWORKS
from bench.judging.claims import load_claims
from bench.judging.judge import assemble
from bench.judging.judged_table import JudgedTable
from bench.judging.references import FIRST_USER_SEED, REFERENCES, load_references, save_reference
from bench.judging.tolerances import load_tolerances
from bench.judging.verdict import MINIMUM_REFERENCES
from bench.report import show, write
from bench.report.gate_plots import gate_maps
from bench.report.heading import caption
from bench.runs import estimate, job
from bench.runs.outcomes import Failed, NotRun, Outcome
from bench.runs.pool import execute, stored
from bench.runs.progress import shown
from bench.runs.record import Record, source_digest, write_atomically
from bench.speedup import gate_speed
from bench.tables import TABLES, Table, gating
from bench.tables.spec import TableSpec, parse_cell
from bench.training import checkpoint, parts
from methods import GATES, METHODS


def find_table(name: str) -> Table:
    """Return a table by its name.

    Raises:
        UsageError: there is none.
    """
    if name not in TABLES:
        raise UsageError(f"table {name!r} is unknown. Choose from {', '.join(TABLES)}.")
    return TABLES[name]


def make_table(
    name: str,
    profile: str,
    place: Place,
    *,
    cells: str = "*",
    seeds: int | None = None,
    data_name: str | None = None,
    only_stored: bool = False,
    strict: bool = False,
    force: bool = False,
) -> int:
    """Run what is missing of a table, judge it, print it and write it under ``place.out``; return the exit code.

    Raises:
        UsageError, DataError, RecordError, SettingsError: exit code 2, with the way out.
        KeyboardInterrupt: exit code 130.
    """
    began = time.monotonic()
    table = find_table(name)
    count = PROFILES[profile].seeds if seeds is None else seeds
    if count < 1:
        raise UsageError(f"--seeds {count}: at least one seed is needed.")
    fresh, asked = range(FIRST_USER_SEED, FIRST_USER_SEED + count), data_name or table.data
    if only_stored:
        images = stored_images(table, asked, profile, fresh, place)
    else:
        images = resolve_images(asked, profile, place)
    spec = table(profile, images.name).select(cells)
    wanted = spec.runs(fresh)
    references = load_references(spec.name, spec.profile, spec.data)
    tolerances = load_tolerances(spec.name, spec.profile, spec.data)  # before the training that they are to judge
    claims = load_claims(spec.name)
    outcomes: list[Outcome] | None
    if only_stored:
        outcomes, notes = _stored_outcomes(wanted, place)
    else:
        outcomes, notes = perform(wanted, place, force=force or profile != "paper")
    judged = assemble(
        spec,
        outcomes,
        references=references,
        tolerances=tolerances,
        claims=claims,
        claimed=table(profile, images.name).names,
        notes=[*notes, *([images.note] if images.note else [])],
        banner=images.banner,
        wall_seconds=None if only_stored else time.monotonic() - began,  # of making it: reading takes no time
    )
    show(judged)
    for path in (*write(judged, place.out / "tables"), *_write_gate_maps(judged, place)):
        print(f"wrote {path}", file=sys.stderr)
    return judged.exit_code(strict=strict)


def _write_gate_maps(table: JudgedTable, place: Place) -> list[Path]:
    """Draw what the gates of each fresh run let through, where its maps lie under ``--out``."""
    paths = []
    for record in table.records:
        found = job.masks_path(place.context.runs_dir, record.run_id)
        if "gate_rate" in record.facts and found.exists():
            with np.load(found, allow_pickle=False) as arrays:
                picture = gate_maps(dict(arrays), f"{record.run_id}: where gates were on\n({caption(table.spec)})")
            paths.append(place.out / "tables" / "gates" / f"{record.run_id}.png")
            write_atomically(paths[-1], picture)
    return paths


def perform(runs: Sequence[Run], place: Place, *, force: bool) -> tuple[list[Outcome], list[str]]:
    """Return the outcomes of runs, doing only what no record of the present code and data answers, and notes.

    Raises:
        UsageError: there is something to do on a CPU, and no ``force``.
    """
    dataset = data_dataset.load(runs[0].data, place.data_dir, place.context.cache_dir)  # also builds the cache, once
    images = len(dataset.train.images)
    notes = _set_aside(runs, place.context.runs_dir, dataset.fingerprint)
    found = stored(runs, place.context.runs_dir)
    # Most steps first: the workers then end about together.
    todo = sorted(found.missing + found.outdated, key=lambda run: estimate.steps(run, images), reverse=True)
    if found.outdated:
        notes.append(f"The code changed since {len(found.outdated)} of the records were made: those were run again.")
    begun = sum(checkpoint.is_of_other_code(_checkpoint_path(run, place)) for run in todo)
    if begun:
        notes.append(f"The code changed since {begun} of the runs were interrupted: those started anew.")
    if todo and place.is_cpu and not force:
        hours = estimate.hours(todo, images, jobs=place.jobs)
        raise UsageError(
            f"that would take at least {hours:,.1f} hours here (steps x measured milliseconds, {place.jobs} jobs): "
            "it is meant for GPUs: --accelerator cuda. Use --profile smoke or cpu, or --force to start all the same."
        )
    with shown(todo, steps=lambda run: estimate.steps(run, images), jobs=place.jobs) as progress:
        made = execute(
            todo,
            job=job.perform,
            context=place.context,
            folder=place.context.runs_dir,
            jobs=place.jobs,
            progress=progress,
        )
    return [(found.records | made)[run.run_id] for run in runs], notes


def _checkpoint_path(run: Run, place: Place) -> Path:
    return job.record_path(place.context.runs_dir, run.run_id).with_name("checkpoint.pt")


def _set_aside(runs: Sequence[Run], runs_dir: Path, fingerprint: str) -> list[str]:
    """Rename records that were made on other images, so that they are run again; say so."""
    aside = 0
    for run in runs:
        path = job.record_path(runs_dir, run.run_id)
        if path.exists() and Record.load(path).facts["data_fingerprint"] != fingerprint:
            path.rename(path.with_name("record.other-data.json"))
            aside += 1
    return [f"{aside} records were made on other images and were run again."] if aside else []


def _stored_outcomes(wanted: Sequence[Run], place: Place) -> tuple[list[Outcome] | None, list[str]]:
    """Return what lies under ``--out``; None, for the references themselves, where nothing does."""
    outcomes: list[Outcome] = []
    for run in wanted:
        path = job.record_path(place.context.runs_dir, run.run_id)
        reason = "nothing stored under --out, and --stored trains nothing"
        outcomes.append(
            Record.load(path)
            if path.exists()
            else NotRun(run_id=run.run_id, cell=run.cell, seed=run.seed, reason=reason)
        )
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    if not records:
        return None, ["No records lay under --out: these are the stored references and their claims."]
    notes = ["Judged from records that lay there; nothing was trained."]
    others = sum(found.provenance.get("source_digest") != source_digest() for found in records)
    if others:
        notes.append(f"Other code than the present made {others} of the {len(records)} records.")
    return outcomes, notes


def record_references(
    name: str, profile: str, place: Place, *, cells: str, seeds: int, data_name: str | None, force: bool
) -> int:
    """Make a table's references with the committed code; return the exit code.

    Raises:
        UsageError: no such table, tracked files differ from the commit, too few seeds, or days on a CPU unforced.
    """
    table = find_table(name)
    if job.git_state()["git_dirty"]:
        raise UsageError(
            "references come only from committed code, and tracked files differ from the commit. Commit first."
        )
    if seeds < MINIMUM_REFERENCES:
        raise UsageError(f"--seeds {seeds}: a reference needs at least {MINIMUM_REFERENCES} seeds a cell.")
    made = data_name or resolve_images(table.data, profile, place).name
    both = (made, STAND_IN) if profile == "smoke" and made != STAND_IN else (made,)
    failures = [
        failure
        for images in ((data_name,) if data_name else both)
        for failure in _record(table(profile, images).select(cells), range(seeds), place, force=force)
    ]
    for failure in failures:
        print(f"{failure.run_id}: {failure.reason}", file=sys.stderr)
    return 1 if failures else 0


def _record(spec: TableSpec, seeds: Sequence[int], place: Place, *, force: bool) -> list[Failed]:
    """Make and store the references of a table; return what failed."""
    outcomes, _ = perform(spec.runs(seeds), place, force=force or spec.profile != "paper")
    for outcome in outcomes:
        if isinstance(outcome, Record):
            save_reference(REFERENCES, spec.name, spec.profile, spec.data, outcome)
    return [outcome for outcome in outcomes if isinstance(outcome, Failed)]


def repeat_references(name: str, profile: str, place: Place, *, cells: Sequence[str], data_name: str | None) -> int:
    """Repeat the first stored seed of some cells and judge it against all of them; return the exit code.

    On the machine class of the references every digest must be the same; elsewhere the counts must be, and the
    accuracies must not deviate.

    Args:
        name: of the table.
        profile: its size.
        place: where to work.
        cells: patterns; the table's ``regression_cells`` where there are none.
        data_name: whose references; the table's own data set, or the stand-in for it, unless given.

    Raises:
        UsageError: no such table.
    """
    table = find_table(name)
    images = data_name or resolve_images(table.data, profile, place).name
    whole = table(profile, images)
    chosen = {run.cell: run for pattern in cells or table.regression_cells for run in whole.select(pattern).cells}
    spec = dataclasses.replace(whole, cells=tuple(chosen.values()))
    outcomes, notes = perform(spec.runs([0]), place, force=True)
    judged = assemble(
        spec,
        outcomes,
        references=load_references(name, profile, images),
        tolerances=load_tolerances(name, profile, images),
        claims=load_claims(name),
        notes=notes,
    )
    show(judged)
    print(
        f"{judged.repetitions} of {len(judged.records)} runs were compared bit by bit, being of the same environment."
    )
    return judged.exit_code()


def make_run(
    cell: str,
    profile: str,
    place: Place,
    *,
    seed: int,
    data_name: str,
    train_images: int | None,
    held_out_images: int | None,
    epochs: int | None,
    batch_images: int | None,
    pipeline: str | None,
    probe: str | None,
    force: bool,
) -> int:
    """Make one run, print its record, and return the exit code. Gates hold out as many images as their table does.

    Raises:
        DataError, ValueError: it cannot be built.
        UsageError: it would take days on a CPU, and there is no ``force``.
    """
    name = parse_cell(cell)
    sparsity = SparsitySpec.at(method=name.method, granularity=name.granularity, point=name.point)
    run = PROFILES[profile].run(name.framework, sparsity, data_name)
    if sparsity.reduction and held_out_images is None:
        held_out_images = gating.SIZES[profile].held_out_images
    images = {"train_images": train_images, "held_out_images": held_out_images}
    optimizer = {"epochs": epochs, "batch_images": batch_images}
    run = dataclasses.replace(
        run,
        data=dataclasses.replace(run.data, **_given(images)),
        optimizer=dataclasses.replace(run.optimizer, **_given(optimizer)),
        views=dataclasses.replace(run.views, **_given({"pipeline": pipeline})),
        evaluation=dataclasses.replace(run.evaluation, **_given({"probe": probe})),
        seed=seed,
    )
    parts.check(run, data_dataset.load(run.data, place.data_dir, place.context.cache_dir))
    (outcome,), notes = perform([run], place, force=force or profile != "paper")
    for note in notes:
        print(note, file=sys.stderr)
    if isinstance(outcome, Record):
        print(outcome.text, end="")
        return 0
    print(f"{outcome.run_id}: {outcome.reason}", file=sys.stderr)
    return 1


def _given(options: Mapping[str, int | str | None]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def show_data(place: Place, *, download: str | None) -> int:
    """Print what is found where; fetch a data set first if asked."""
    if download is not None:
        data_dataset.download(download, place.data_dir)
    print(f"data directory: {place.data_dir} (set SPARSE_SSL_DATA or --data-dir to change it)")
    for found in data_dataset.survey(place.data_dir, place.context.cache_dir):
        state = "verified" if found.verified else "not verified" if found.is_usable else "unusable"
        print(f"{found.name:12} {found.kind:10} {state:12} {found.note}")
    return 0


def show_gate_speed(slice_channels: int) -> int:
    """Print how long a gated layer takes when it really skips, beside what it saves in MACs."""
    print(*gate_speed.lines(gate_speed.timings(slice_channels)), sep="\n")
    return 0


def show_methods() -> int:
    """Print the registries."""
    print("methods:    " + ", ".join(METHODS))
    print("gates:      " + ", ".join(GATES))
    print("frameworks: " + ", ".join(FRAMEWORKS))
    print("tables:     " + ", ".join(TABLES))
    return 0
