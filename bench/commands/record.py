"""``record``: make a table's stored references with the committed code."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from bench import provenance
from bench.commands.images import resolve_images
from bench.commands.place import Place, Places, ProfileName, find_table
from bench.config.run import STAND_IN
from bench.errors import UsageError
from bench.judging.references import REFERENCES, save_reference
from bench.judging.verdict import MINIMUM_REFERENCES
from bench.runs.outcomes import Failed
from bench.runs.perform import perform
from bench.runs.record import Record as RunRecord
from bench.tables.spec import TableSpec


def record_references(
    name: str, profile: str, place: Place, *, cells: str, seeds: int, data_name: str | None, force: bool
) -> int:
    """Make a table's references with the committed code; return the exit code.

    Raises:
        UsageError: no such table, tracked files differ from the commit, too few seeds, or days on a CPU unforced.
    """
    table = find_table(name)
    if provenance.git_state()["git_dirty"]:
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
    outcomes, _ = perform(spec.runs(seeds), place.context, jobs=place.jobs, force=force or spec.profile != "paper")
    for outcome in outcomes:
        if isinstance(outcome, RunRecord):
            save_reference(REFERENCES, spec.name, spec.profile, spec.data, outcome)
    return [outcome for outcome in outcomes if isinstance(outcome, Failed)]


@dataclass(frozen=True, kw_only=True)
class Record(Places):
    """Make a table's stored references with the committed code: seeds 0 and on.

    Attributes:
        name: which table.
        profile: its size.
        cells: only cells that match this pattern.
        seeds: per cell, at least 3.
        data: the table's own data set and digits, the stand-in, unless one of them is given.
        force: start even where this machine would take days.
    """

    name: tyro.conf.Positional[str] = "cifar10"
    profile: ProfileName = "smoke"
    cells: str = "*"
    seeds: int = 5
    data: str | None = None
    force: bool = False

    def act(self) -> int:
        """Return the exit code."""
        return record_references(
            self.name,
            self.profile,
            self.place,
            cells=self.cells,
            seeds=self.seeds,
            data_name=self.data,
            force=self.force,
        )
