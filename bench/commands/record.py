"""``record``: make a table's stored references with the committed code."""

import dataclasses
import datetime as dt
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from bench.commands.claimed import ClaimName, claimed
from bench.commands.images import resolve_images
from bench.commands.place import DataName, Glob, Place, ProfileName, TableName, find_table
from bench.config.code import code_of
from bench.config.profiles import PROFILES
from bench.config.run import STAND_IN
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.runs.outcomes import Failed
    from bench.tables.spec import TableSpec

_SEED = re.compile(r"-s(\d+)-[0-9a-f]+$")  # in a run's name


@dataclass(frozen=True, kw_only=True)
class Record:
    """Make a table's stored references with the committed code: seeds 0 and on.

    Everything is trained anew, in a folder of this call's own under OUT/record: no record that lies elsewhere, made by
    whatever hand, becomes a reference. With --missing, references that are stored already stay as they are.

    Attributes:
        name: the table, e.g. cifar10, nm, structured or gating.
        profile: size of the experiment: minutes on 2 cores, an hour a seed, a day on a GPU, or weeks on GPUs.
        cells: only cells FRAMEWORK/METHOD/GRANULARITY/POINT that match this pattern.
        claim: only the cells that one claim compares, and the untrained ones below them; `claims` lists names.
        seeds: runs per cell, at least 3.
        missing: make only runs that no table has stored; what another table has stored is stored here as well.
        data: make references of this data set alone. Smoke's are of the table's own data set and of the stand-in.
        resume: go on in the folder of an interrupted call, which named it. You vouch for what lies there.
        force: start even where this machine would take days.
        place: where to work.
    """

    name: Positional[TableName] = "cifar10"
    profile: ProfileName = "smoke"
    cells: Glob = "*"
    claim: ClaimName = None
    seeds: Annotated[int, arg(metavar="N")] = 5
    missing: bool = False
    data: DataName = None
    resume: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: a new folder)")] = None
    force: bool = False
    place: Place = field(default_factory=Place)

    def act(self) -> int:
        """Make them and return the exit code.

        Raises:
            UsageError: no such table, folder or device, code that is not committed, too few seeds, or days on a CPU
                unforced.
        """
        from bench import provenance
        from bench.judging.verdict import MINIMUM_REFERENCES

        table = find_table(self.name)
        self.place.context  # noqa: B018  # no such device? Said at once
        if provenance.git_state()["git_dirty"]:
            raise UsageError(
                "references come only from committed code, and tracked files differ from the commit. Commit first."
            )
        strangers = provenance.strangers()
        if strangers:
            raise UsageError(
                f"references come only from committed code, and git does not know {', '.join(strangers)}. Commit or "
                "remove them first."
            )
        if self.seeds < MINIMUM_REFERENCES:
            raise UsageError(f"--seeds {self.seeds}: a reference needs at least {MINIMUM_REFERENCES} seeds a cell.")
        home = self._home()
        try:
            failures = [
                failure
                for images in self._data_names(table.data)
                for failure in self._make(claimed(table(self.profile, images).select(self.cells), self.claim), home)
            ]
        except KeyboardInterrupt:
            print(f"to go on where this call stopped, add --resume {home}", file=sys.stderr)
            raise
        for failure in failures:
            print(f"{failure.run_id}: {failure.reason}", file=sys.stderr)
        return 1 if failures else 0

    def _home(self) -> Path:
        """Return the folder of this call: one that is not there yet, or that of the call that is resumed."""
        if self.resume is not None:
            if not self.resume.is_dir():
                raise UsageError(f"--resume {self.resume}: there is no such folder. Leave it out to start anew.")
            return self.resume.absolute()
        now = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
        return (self.place.out / "record" / f"{now}-{os.getpid()}").absolute()

    def _data_names(self, of_table: str) -> Sequence[str]:
        if self.data is not None:
            return (self.data,)
        found = resolve_images(of_table, self.profile, self.place).name
        return (found, STAND_IN) if self.profile == "smoke" and found != STAND_IN else (found,)

    def _make(self, spec: "TableSpec", home: Path) -> "list[Failed]":
        """Make the references of a table under ``home`` and store them; return what failed.

        Raises:
            RecordError: a reference that is stored cannot be trusted.
            UsageError: references of higher seeds would stay beside those that are made anew.
        """
        from bench.judging.references import REFERENCES, save_reference, take_over
        from bench.runs.outcomes import Failed
        from bench.runs.perform import perform
        from bench.runs.record import Record as RunRecord

        runs = spec.runs(range(self.seeds))
        if self.missing:
            wanted = {run.run_id for run in runs}
            stored = take_over(REFERENCES, spec.name, spec.profile, spec.data, wanted)
            print(f"{spec.name} on {spec.data}: {len(stored)} of {len(wanted)} runs are stored.")
            others = sum(kept.provenance.get("source_digest") != code_of(kept.run).digest for kept in stored.values())
            if others:
                print(
                    f"Other code than the present made {others} of them; its numbers stay beside the new ones. "
                    "`nox -s regression` says whether the present code still gives them.",
                    file=sys.stderr,
                )
            runs = tuple(run for run in runs if run.run_id not in stored)
            if not runs:
                return []
        else:
            _refuse_mixtures(spec, self.seeds)
        made, _ = perform(
            runs,
            dataclasses.replace(self.place.context, runs_dir=home / "runs"),
            hire=self.place.hire,
            force=self.force,
            wants_gpu=PROFILES[self.profile].wants_gpu,
            redo=self.place.redo,
        )
        for outcome in made:
            if isinstance(outcome, RunRecord):
                save_reference(REFERENCES, spec.name, spec.profile, spec.data, outcome)
        return [outcome for outcome in made if isinstance(outcome, Failed)]


def _refuse_mixtures(spec: "TableSpec", seeds: int) -> None:
    """Refuse to make a cell's first seeds anew while later ones stay: they may be another code's.

    Raises:
        UsageError: there are such.
    """
    from bench.judging.references import REFERENCES

    stems = {path.stem for path in (REFERENCES / spec.name / spec.profile / spec.data).glob("*.json")}
    last = max((int(found[1]) for stem in stems if (found := _SEED.search(stem))), default=-1)
    later = range(seeds, last + 1)
    left = [run for run in spec.runs(later) if run.run_id in stems] if later else []
    if left:
        highest = max(run.seed for run in left)
        raise UsageError(
            f"{left[0].cell} on {spec.data} has references of seeds up to {highest}; those from {seeds} on would stay, "
            f"of whatever code they are, beside the ones that are made anew. Give --seeds {highest + 1}, or --missing "
            "to keep what is stored, or delete the later ones first."
        )
