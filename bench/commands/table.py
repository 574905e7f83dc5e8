"""``table``: make what is missing, judge it, show it."""

import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from bench.commands.changes import OtherSettings
from bench.commands.claimed import ClaimName, claimed
from bench.commands.images import Images, content_of, located, resolve_images, stored_images
from bench.commands.place import DataName, Glob, Place, ProfileName, TableName, find_table
from bench.config import overrides
from bench.config.code import code_of
from bench.config.overrides import COMPACT
from bench.config.profiles import PROFILES
from bench.errors import UsageError
from bench.files import write_atomically
from bench.runs.folder import RunFolder
from bench.runs.outcomes import NotRun, Outcome
from bench.runs.record import Record

if TYPE_CHECKING:
    from bench.config.run import Run as RunSetting
    from bench.judging.claims import Claims
    from bench.judging.judged_table import JudgedTable
    from bench.report.html import Drawing
    from bench.tables.spec import TableSpec

Found = tuple[list[Outcome] | None, list[str]]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Run what is missing of a table, judge every number, print it, and write Markdown, HTML and JSON.

    Attributes:
        name: the table, e.g. cifar10, nm, structured or gating.
        profile: size of the experiment: minutes on 2 cores, an hour a seed, a day on a GPU, or weeks on GPUs.
        cells: only cells FRAMEWORK/METHOD/GRANULARITY/POINT that match this pattern, e.g. 'simclr/*'.
        claim: only the cells that one claim compares, and the untrained ones below them; `claims` lists names.
        seeds: fresh runs per cell, with seeds from 100 on.
        data: another data set than the table's own: cifar100, own images by name or path; see `run --help`.
        stored: train nothing; judge what lies under --out, else show the stored references.
        strict: verdicts of INCONCLUSIVE fail too.
        shard: make only the i-th of n equal parts of the runs, and no table, on one of n machines without a shared
            folder; then `merge` their folders, and judge the whole with --stored.
        force: start even where this machine would take days.
        match: what rows have in common: density (the table as it is), macs of inference, or macs of all training.
        other: settings other than the profile's.
        place: where to work.
    """

    name: Positional[TableName] = "cifar10"
    profile: ProfileName = "smoke"
    cells: Glob = "*"
    claim: ClaimName = None
    seeds: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the profile's, 1 for smoke)")] = None
    data: DataName = None
    stored: bool = False
    strict: bool = False
    shard: Annotated[str | None, arg(metavar="I/N", help_behavior_hint="(default: the whole)")] = None
    force: bool = False
    match: Literal["density", "macs", "training-macs"] = "density"
    other: OtherSettings = field(default_factory=OtherSettings)
    place: Place = field(default_factory=Place)

    def act(self) -> int:
        """Run what is missing, judge it, print it, write it under ``--out``; return the exit code.

        Raises:
            UsageError, RunError, DataError, RecordError, SettingsError: exit code 2, with the way out.
            KeyboardInterrupt: exit code 130.
        """
        from bench.report import page, show, write

        if self.shard is not None:
            return self._make_shard()
        judged = self.judged()
        laid_out = page(judged)
        show(laid_out)
        for path in (*write(judged, laid_out, self.place.tables_dir), *self._write_gate_maps(judged)):
            print(f"wrote {path}", file=sys.stderr)
        return judged.exit_code(strict=self.strict)

    def judged(self) -> "JudgedTable":
        """Run what is missing and judge it."""
        if self.data is not None:
            name, place = located(self.data, self.place)
            if name != self.data:
                return dataclasses.replace(self, data=name, place=place).judged()
        began = time.monotonic()
        from bench.judging.judge import assemble
        from bench.judging.references import load_references
        from bench.judging.tolerances import load_tolerances

        self.place.context  # noqa: B018  # no such device? Said at once
        images = self._images()
        whole, fits = self._whole(images.name)
        spec = self._spec(images.name)
        # Before the training that they are to judge:
        references = load_references(spec.name, spec.profile, spec.data)
        tolerances = load_tolerances(spec.name, spec.profile, spec.data)
        claims = self._claims(spec)
        outcomes, notes = self._stored(spec) if self.stored else self._made(spec)
        return assemble(
            spec,
            outcomes,
            references=references,
            tolerances=tolerances,
            claims=claims,
            claimed=find_table(self.name)(self.profile, images.name).names,
            notes=[*fits, *self._differences(whole, spec), *notes, *([images.note] if images.note else [])],
            banner=images.banner,
            wall_seconds=None if self.stored else time.monotonic() - began,  # of making it: reading takes no time
        )

    @property
    def _fresh(self) -> Sequence[int]:
        """The seeds of the user's runs."""
        from bench.judging.references import FIRST_USER_SEED

        count = PROFILES[self.profile].seeds if self.seeds is None else self.seeds
        if count < 1:
            raise UsageError(f"--seeds {count}: at least one seed is needed.")
        return range(FIRST_USER_SEED, FIRST_USER_SEED + count)

    def _images(self) -> Images:
        asked = self.data or find_table(self.name).data
        if self.stored:
            table = self._spec if self.other.changes else lambda images: self._whole(images)[0]
            return stored_images(table, asked, self.profile, self._fresh, self.place)
        return resolve_images(asked, self.profile, self.place)

    def _whole(self, images: str) -> tuple["TableSpec", tuple[str, ...]]:
        """Return all cells on some images, and what these change about the profile.

        Where another encoder is asked for, for which other constants are published, these are the cells'.
        """
        from bench.data import fit

        table, content = find_table(self.name), content_of(images, self.place)
        notes = fit.remarks(table.build(self.profile, images).cells[0].data, content)
        return table(self.profile, images, content, str(self.other.changes.get("encoder.name", ""))), notes

    def _spec(self, images: str) -> "TableSpec":
        """Return the requested cells on some images."""
        if "seed" in self.other.changes:
            raise UsageError("--set seed: a table's seeds are counted by --seeds.")
        spec = self._whole(images)[0]
        changes = self.other.changes
        if changes:
            asked = claimed(spec.select(self.cells), self.claim, self.match)
            spec = spec.changed(changes, compact=self._compactable(asked) if COMPACT in changes else ())
        part = claimed(spec.select(self.cells), self.claim, self.match)
        return part if self.match == "density" else self._matched(spec, part.names)

    def _compactable(self, spec: "TableSpec") -> tuple[str, ...]:
        """Return the cells that can be trained compactly.

        Raises:
            UsageError: none of the requested ones can.
        """
        from bench.training import compaction, parts

        reasons = {run.cell: compaction.why_not(run, parts.method_for(run)) for run in spec.cells}
        found = tuple(cell for cell, reason in reasons.items() if not reason)
        if not found:
            cell, reason = next(iter(reasons.items()))
            raise UsageError(f"--compact-training: no row that was asked for can be trained so. {cell}: {reason}")
        return found

    def _matched(self, spec: "TableSpec", names: Sequence[str]) -> "TableSpec":
        """Return some cells of the table at equal cost, as far as its cost at equal density is known."""
        from bench.judging.equal_cost import costs
        from bench.judging.references import load_references
        from bench.tables.match import matched

        fresh = [folder.checked_record() for folder in RunFolder.recorded(self.place.runs_dir)]
        known = costs(spec, load_references(spec.name, spec.profile, spec.data), fresh)
        moved = matched(spec, self.match, known, moving=names)
        pairs = zip(spec.cells, moved.cells, strict=True)
        kept = {after.cell for before, after in pairs if before.cell in names}
        return moved.only(kept)

    def _claims(self, spec: "TableSpec") -> "Claims":
        """Return what papers say of the table; with other settings than its own, nothing is judged by it."""
        from bench.judging.claims import load_claims

        claims = load_claims(spec.name)
        if not spec.settings and not spec.match:
            return claims
        here = (*([f"--match {spec.match}"] if spec.match else []), *spec.settings)
        why = f"The claim is judged with the table's own settings; here {', '.join(here)}."
        unjudged = (
            dataclasses.replace(claim, profiles=(), not_judged=dict.fromkeys(PROFILES, why)) for claim in claims.claims
        )
        return dataclasses.replace(claims, claims=tuple(unjudged))

    def _made(self, spec: "TableSpec") -> Found:
        """Run what is missing. Runs with other settings are tried first: what cannot be built is refused at once."""
        from bench.data import dataset
        from bench.runs import job
        from bench.runs.perform import perform

        context = self.place.context
        if spec.settings or spec.match:
            for run in spec.cells:
                images = dataset.load(run.data, context.data_dir, context.cache_dir)
                job.check(run, images, compiles=context.compiles)
        return perform(
            self._wanted(spec),
            context,
            hire=self.place.hire,
            force=self.force,
            wants_gpu=PROFILES[self.profile].wants_gpu,
            redo=self.place.redo,
        )

    def _make_shard(self) -> int:
        """Make a part of the runs, and judge nothing; return the exit code."""
        self.place.context  # noqa: B018  # no such device? Said at once
        spec = self._spec(self._images().name)
        outcomes, notes = self._made(spec)
        for note in notes or ():
            print(note, file=sys.stderr)
        failed = [outcome for outcome in outcomes or () if not isinstance(outcome, Record)]
        for outcome in failed:
            print(f"{outcome.run_id}: {outcome.reason}", file=sys.stderr)
        made = len(outcomes or ()) - len(failed)
        print(f"shard {self.shard}: {made} of {len(self._wanted(spec))} runs lie under {self.place.runs_dir}")
        return int(bool(failed))

    def _wanted(self, spec: "TableSpec") -> "Sequence[RunSetting]":
        """Return the runs that this command makes: all, or a shard of them."""
        runs = spec.runs(self._fresh)
        if self.shard is None:
            return runs
        part, _, parts = self.shard.partition("/")
        if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
            raise UsageError(f"--shard {self.shard}: I/N is needed, with I from 1 to N, e.g. 2/8.")
        if self.stored:
            raise UsageError("--shard makes runs, and --stored makes none. Leave one of them out.")
        chosen = runs[int(part) - 1 :: int(parts)]
        if not chosen:
            raise UsageError(f"--shard {self.shard}: there are only {len(runs)} runs. Ask for fewer shards.")
        return chosen

    def _stored(self, spec: "TableSpec") -> Found:
        """Return what lies under ``--out``; None, for the references themselves, where nothing does."""
        outcomes: list[Outcome] = []
        for run in spec.runs(self._fresh):
            folder = RunFolder.of(self.place.runs_dir, run)
            reason = "nothing stored under --out, and --stored trains nothing"
            outcomes.append(
                folder.checked_record()
                if folder.record.exists()
                else NotRun(run_id=run.run_id, cell=run.cell, seed=run.seed, reason=reason)
            )
        records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
        if not records:
            return None, ["No records lay under --out: these are the references and their claims."]
        notes = ["Judged from records that lay there; nothing was trained."]
        others = sum(found.provenance.get("source_digest") != code_of(found.run).digest for found in records)
        if others:
            notes.append(f"Other code than the present made {others} of the {len(records)} records.")
        return outcomes, notes

    def _differences(self, whole: "TableSpec", spec: "TableSpec") -> list[str]:
        """Say which settings differ from the table's, in how many cells."""
        own = {run.cell: run for run in claimed(whole.select(self.cells), self.claim, self.match).cells}
        found: dict[str, int] = {}
        for before, after in zip(own.values(), spec.cells, strict=True):
            for key, (old, new) in overrides.differences(before, after).items():
                line = f"{key} = {overrides.text_of(new)} instead of {overrides.text_of(old)}"
                found[line] = found.get(line, 0) + 1
        if not found:
            return []
        said = "; ".join(f"{line} in {count} of {len(own)} cells" for line, count in found.items())
        return [f"Settings that differ from the table's, so that it has no references: {said}."]

    def gate_maps(self, table: "JudgedTable") -> "Iterator[Drawing]":
        """Draw what the gates of each fresh run let through, where its maps lie under ``--out``."""
        import numpy as np

        from bench.report.gate_plots import gate_maps
        from bench.report.html import Drawing

        for record in table.records:
            found = RunFolder(self.place.runs_dir / record.run_id).masks
            if "gate_rate" in record.facts and found.exists():
                title = f"{record.run_id}: where gates were on"
                with np.load(found, allow_pickle=False) as arrays:
                    content = gate_maps(dict(arrays), f"{title}\n({table.spec.caption})")
                yield Drawing(name=record.run_id, title=title, content=content)

    def _write_gate_maps(self, table: "JudgedTable") -> list[Path]:
        paths = []
        for drawing in self.gate_maps(table):
            paths.append(self.place.tables_dir / "gates" / f"{drawing.name}.png")
            write_atomically(paths[-1], drawing.content)
        return paths
