"""``table``: make what is missing, judge it, show it."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from bench.commands.images import resolve_images, stored_images
from bench.commands.place import Place, Places, ProfileName, find_table
from bench.config.profiles import PROFILES
from bench.config.run import Run
from bench.errors import UsageError
from bench.files import write_atomically
from bench.judging.claims import load_claims
from bench.judging.judge import assemble
from bench.judging.judged_table import JudgedTable
from bench.judging.references import FIRST_USER_SEED, load_references
from bench.judging.tolerances import load_tolerances
from bench.provenance import source_digest
from bench.report import page, show, write
from bench.report.gate_plots import gate_maps
from bench.report.heading import caption
from bench.runs.folder import RunFolder
from bench.runs.outcomes import NotRun, Outcome
from bench.runs.perform import perform
from bench.runs.record import Record


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
        outcomes, notes = perform(wanted, place.context, jobs=place.jobs, force=force or profile != "paper")
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
    laid_out = page(judged)
    show(laid_out)
    for path in (*write(judged, laid_out, place.out / "tables"), *_write_gate_maps(judged, place)):
        print(f"wrote {path}", file=sys.stderr)
    return judged.exit_code(strict=strict)


def _write_gate_maps(table: JudgedTable, place: Place) -> list[Path]:
    """Draw what the gates of each fresh run let through, where its maps lie under ``--out``."""
    paths = []
    for record in table.records:
        found = RunFolder(place.context.runs_dir / record.run_id).masks
        if "gate_rate" in record.facts and found.exists():
            with np.load(found, allow_pickle=False) as arrays:
                picture = gate_maps(dict(arrays), f"{record.run_id}: where gates were on\n({caption(table.spec)})")
            paths.append(place.out / "tables" / "gates" / f"{record.run_id}.png")
            write_atomically(paths[-1], picture)
    return paths


def _stored_outcomes(wanted: Sequence[Run], place: Place) -> tuple[list[Outcome] | None, list[str]]:
    """Return what lies under ``--out``; None, for the references themselves, where nothing does."""
    outcomes: list[Outcome] = []
    for run in wanted:
        path = RunFolder.of(place.context.runs_dir, run).record
        reason = "nothing stored under --out, and --stored trains nothing"
        outcomes.append(
            Record.load(path)
            if path.exists()
            else NotRun(run_id=run.run_id, cell=run.cell, seed=run.seed, reason=reason)
        )
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    if not records:
        return None, ["No records lay under --out: these are the references and their claims."]
    notes = ["Judged from records that lay there; nothing was trained."]
    others = sum(found.provenance.get("source_digest") != source_digest() for found in records)
    if others:
        notes.append(f"Other code than the present made {others} of the {len(records)} records.")
    return outcomes, notes


@dataclass(frozen=True, kw_only=True)
class Table(Places):
    """Run what is missing of a table, judge every number, print it, and write Markdown, HTML and JSON.

    Attributes:
        name: which table.
        profile: its size.
        cells: only cells FRAMEWORK/METHOD/GRANULARITY/POINT that match this pattern.
        seeds: fresh seeds per cell, from 100; the profile's number unless given.
        data: another data set than the table's own, e.g. cifar100 for the table gating.
        stored: train nothing; judge what lies under --out, else show the stored references.
        strict: INCONCLUSIVE fails too.
        force: start even where this machine would take days.
    """

    name: tyro.conf.Positional[str] = "cifar10"
    profile: ProfileName = "smoke"
    cells: str = "*"
    seeds: int | None = None
    data: str | None = None
    stored: bool = False
    strict: bool = False
    force: bool = False

    def act(self) -> int:
        """Return the exit code."""
        return make_table(
            self.name,
            self.profile,
            self.place,
            cells=self.cells,
            seeds=self.seeds,
            data_name=self.data,
            only_stored=self.stored,
            strict=self.strict,
            force=self.force,
        )
