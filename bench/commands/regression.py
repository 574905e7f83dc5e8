"""``regression``: repeat stored references and compare bit by bit."""

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from bench.commands.images import resolve_images
from bench.commands.place import DataName, Place, ProfileName, TableName, find_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.runs.record import Record
    from bench.tables.spec import TableSpec


@dataclass(frozen=True, kw_only=True)
class Regression:
    """Repeat stored references with their own seed: exact where the machine class is the same.

    On other machines every count must be the same, and no accuracy may deviate. In a job of a code host, which names a
    file in GITHUB_STEP_SUMMARY, the result is appended there as Markdown.

    Attributes:
        name: the table, e.g. cifar10, nm, structured or gating.
        profile: size of the experiment: minutes on 2 cores, an hour a seed, a day on a GPU, or weeks on GPUs.
        cells: only cells FRAMEWORK/METHOD/GRANULARITY/POINT that match one of these patterns.
        data: repeat the references of this data set; digits for the stand-in's.
        place: where to work.
    """

    name: Positional[TableName] = "cifar10"
    profile: ProfileName = "smoke"
    cells: Annotated[
        tuple[str, ...],
        arg(metavar="PATTERN ...", help_behavior_hint="(default: a few that cover every method)"),
    ] = ()
    data: DataName = None
    place: Place = field(default_factory=Place)

    def act(self) -> int:
        """Repeat the first stored seed of the cells, judge it against all of them, and return the exit code.

        Raises:
            UsageError: no such table or device.
        """
        from bench.judging.claims import load_claims
        from bench.judging.judge import assemble
        from bench.judging.references import load_references
        from bench.judging.tolerances import load_tolerances
        from bench.report import page, show, summary
        from bench.runs.perform import perform

        context = self.place.context  # no such device? Said at once
        spec = self._chosen()
        references = load_references(spec.name, spec.profile, spec.data)
        spec, without = _with_references(spec, references)
        if without:
            print(f"Not repeated, as they have no references: {', '.join(without)}.")
        outcomes, notes = perform(spec.runs([0]), context, hire=self.place.hire, force=True)
        judged = assemble(
            spec,
            outcomes,
            references=references,
            tolerances=load_tolerances(spec.name, spec.profile, spec.data),
            claims=load_claims(spec.name),
            notes=notes,
        )
        laid_out, of = page(judged), f"{judged.repetitions} of {len(judged.records)}"
        said = f"{of} runs were compared bit by bit, being of the same environment."
        show(laid_out)
        print(said)
        verdict = "Passed." if judged.exit_code() == 0 else "FAILED."
        summary.append(laid_out, [f"**{verdict}** {said}"])
        return judged.exit_code()

    def _chosen(self) -> "TableSpec":
        """Return the table with the cells to repeat."""
        table = find_table(self.name)
        images = self.data or resolve_images(table.data, self.profile, self.place).name
        whole = table(self.profile, images)
        patterns = self.cells or table.regression_cells
        chosen = {run.cell: run for pattern in patterns for run in whole.select(pattern).cells}
        return dataclasses.replace(whole, cells=tuple(chosen.values()))


def _with_references(spec: "TableSpec", references: "Sequence[Record]") -> "tuple[TableSpec, list[str]]":
    """Return the cells that have references, and the names of the others; all cells where none has any."""
    stored = {dataclasses.replace(record.run, seed=0).run_id for record in references}
    there = tuple(run for run in spec.cells if run.run_id in stored)
    if not there:
        return spec, []
    return dataclasses.replace(spec, cells=there), [run.cell for run in spec.cells if run not in there]
