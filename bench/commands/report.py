"""``report``: everything that is known, on one page."""

import dataclasses
import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

from bench.commands.place import Out, Place, ProfileName, find_table
from bench.commands.table import Table
from bench.errors import UsageError
from bench.files import write_atomically
from bench.runs.folder import RunFolder
from bench.runs.record import Record

if TYPE_CHECKING:
    from bench.judging.judged_table import JudgedTable

MOST_MAPS = 6  # pictures of gates on the page, of some hundred kilobytes each


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write everything that is known as one page, OUT/report.html, and as Markdown: claims first. Trains nothing.

    Attributes:
        place: where the runs lie; of what did not run here, the references are shown.
    """

    place: Out = field(default_factory=Out)

    def act(self) -> int:
        """Write the page; return the exit code.

        Raises:
            UsageError: there is neither a run nor a reference.
        """
        from bench.report.html import html
        from bench.report.whole import whole, whole_markdown

        asked = list(self._asked())
        tables = [self._with_all_evidence(table, table.judged()) for table in asked]
        if not tables:
            raise UsageError("there is neither a run under --out nor a reference. `nox -s cifar10_table` makes runs.")
        maps = [found for table, judged in zip(asked, tables, strict=True) for found in table.gate_maps(judged)]
        report = whole(tables, maps[:MOST_MAPS])
        for name, content in {"report.html": html(report), "report.md": whole_markdown(report)}.items():
            path = self.place.out / name
            write_atomically(path, content.encode())
            print(f"wrote {path}", file=sys.stderr)
        print(report.lead)
        return 0

    def _with_all_evidence(self, asked: Table, judged: "JudgedTable") -> "JudgedTable":
        """Return a table whose claims are judged by references and fresh runs together, as ``claims`` does it."""
        from bench.judging import book
        from bench.judging.claims import load_claims
        from bench.judging.evidence import gathered
        from bench.judging.references import load_references

        spec = judged.spec
        evidence = gathered(spec, load_references(spec.name, spec.profile, spec.data), self._fresh)
        for line in evidence.left_out:
            print(f"does not count for {asked.name} at {spec.profile} on {spec.data}: {line}", file=sys.stderr)
        entries = book.entries(evidence, load_claims(spec.name), judged.tolerances)
        return dataclasses.replace(judged, claims=tuple(entry.judged for entry in entries))

    @functools.cached_property
    def _fresh(self) -> tuple[Record, ...]:
        """The finished runs under ``--out``."""
        return tuple(folder.checked_record() for folder in RunFolder.recorded(self.place.runs_dir))

    def _asked(self) -> Iterator[Table]:
        """Give every table at every size and on every data set of which there is a run or a reference."""
        from bench.judging.references import REFERENCES
        from bench.tables import TABLES

        for name, table in TABLES.items():
            for profile in (each for each in get_args(ProfileName) if each in table.profiles):
                with_references = (path.name for path in sorted((REFERENCES / name / profile).glob("*")))
                for data in dict.fromkeys((table.data, *with_references)):
                    seeds = self._seeds(name, profile, data)
                    if seeds or (REFERENCES / name / profile / data).exists():
                        place = Place(out=self.place.out)
                        yield Table(
                            name=name, profile=profile, data=data, stored=True, seeds=max(1, seeds), place=place
                        )

    def _seeds(self, name: str, profile: str, data: str) -> int:
        """Return how many fresh seeds some cell of a table has under ``--out``."""
        from bench.judging.references import FIRST_USER_SEED

        count, table = 0, find_table(name)(profile, data)
        while any(
            RunFolder.of(self.place.runs_dir, run).record.exists() for run in table.runs([FIRST_USER_SEED + count])
        ):
            count += 1
        return count
