"""``regression``: repeat stored references and compare bit by bit."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from bench.commands.images import resolve_images
from bench.commands.place import Place, Places, ProfileName, find_table
from bench.judging.claims import load_claims
from bench.judging.judge import assemble
from bench.judging.references import load_references
from bench.judging.tolerances import load_tolerances
from bench.report import page, show
from bench.runs.perform import perform


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
    outcomes, notes = perform(spec.runs([0]), place.context, jobs=place.jobs, force=True)
    judged = assemble(
        spec,
        outcomes,
        references=load_references(name, profile, images),
        tolerances=load_tolerances(name, profile, images),
        claims=load_claims(name),
        notes=notes,
    )
    show(page(judged))
    print(
        f"{judged.repetitions} of {len(judged.records)} runs were compared bit by bit, being of the same environment."
    )
    return judged.exit_code()


@dataclass(frozen=True, kw_only=True)
class Regression(Places):
    """Repeat stored references with their own seed: exact where the machine class is the same.

    Attributes:
        name: which table.
        profile: its size.
        cells: only cells that match one of these patterns; a few that cover every method unless given.
        data: the table's own data set, or digits for the stand-in's references.
    """

    name: tyro.conf.Positional[str] = "cifar10"
    profile: ProfileName = "smoke"
    cells: tuple[str, ...] = ()
    data: str | None = None

    def act(self) -> int:
        """Return the exit code."""
        return repeat_references(self.name, self.profile, self.place, cells=self.cells, data_name=self.data)
