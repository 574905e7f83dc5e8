"""``claims``: what the works claim, and what our own runs and a user's say of it."""

import functools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, get_args

from tyro.conf import arg

from bench.commands.place import Out, ProfileName
from bench.config.run import STAND_IN
from bench.errors import UsageError, unknown
from bench.runs.folder import RunFolder
from bench.runs.record import Record

if TYPE_CHECKING:
    from bench.judging.book import Entry
    from bench.report.claims import ModelledClaim
    from bench.tables import Table
    from bench.tables.spec import TableSpec


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Show every claim of the works: source, what is compared, verdict, effect, power, and what is still to run.

    Stored references and the finished runs under --out count together. Below stand claims of our own, about rows at
    equal cost. Trains nothing.

    Attributes:
        table: only the claims about one table; or accelerator, for those about machines.
        profile: only one size.
        data: only one data set; by default each table's own, and all that have references.
        next: only what is still to run for the primary claims, by the rule of sample sizes (results/judging.md).
        json: everything as JSON, nothing rounded.
        markdown: verdicts and the differences behind them as Markdown; results/claims.md is that of the references.
        place: where the runs lie.
    """

    table: Annotated[str | None, arg(metavar="TABLE", help_behavior_hint="(default: all)")] = None
    profile: Annotated[
        ProfileName | None, arg(metavar="{smoke,cpu,gpu,paper}", help_behavior_hint="(default: all)")
    ] = None
    data: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: see above)")] = None
    next: bool = False
    json: bool = False
    markdown: bool = False
    place: Out = field(default_factory=Out)

    def act(self) -> int:
        """Print them; return the exit code.

        Raises:
            UsageError: no such table, or two forms at once.
            RecordError: a record cannot be trusted.
        """
        from bench.report import claims as report
        from bench.report.claims_page import claims_page
        from bench.tables import TABLES

        if self.table is not None and self.table not in (*TABLES, "accelerator"):
            raise UsageError(unknown("table", self.table, (*TABLES, "accelerator")))
        if self.next + self.json + self.markdown > 1:
            raise UsageError("--next, --json and --markdown are three forms of one answer: give one")
        entries = [
            entry
            for name, table in TABLES.items()
            if self.table in (None, name)
            for entry in self._entries(name, table)
        ]
        if self.next:
            print(*report.next_steps(entries), sep="\n")
            return 0
        ours = [
            entry
            for name, table in TABLES.items()
            if self.table in (None, name)
            for entry in self._own_entries(name, table)
        ]
        modelled = list(_modelled()) if self.table in (None, "accelerator") else []
        if self.json:
            print(report.payload(entries, modelled, ours), end="")
        elif self.markdown:
            print(claims_page(entries, modelled, ours), end="")
        else:
            print(*report.told(entries, modelled, ours), sep="\n")
        return 0

    def _entries(self, name: str, table: "Table") -> "Iterator[Entry]":
        """Judge a table's claims at every size and on every data set that is asked for."""
        from bench.judging import book
        from bench.judging.claims import load_claims
        from bench.judging.evidence import gathered
        from bench.judging.references import load_references
        from bench.judging.tolerances import load_tolerances

        claims, fresh = load_claims(name), self._fresh
        for profile, data in self._sizes(name, table):
            references = load_references(name, profile, data)
            evidence = gathered(table(profile, data), references, fresh)
            for line in evidence.left_out:
                print(f"does not count for {name} at {profile} on {data}: {line}", file=sys.stderr)
            yield from book.entries(evidence, claims, load_tolerances(name, profile, data))

    def _own_entries(self, name: str, table: "Table") -> "Iterator[Entry]":
        """Judge our own claims about a table at each equal cost, at every size and on every data set."""
        from bench.judging import book
        from bench.judging.claims import Cost, load_own_claims
        from bench.judging.equal_cost import Costs, evidence_at_equal_cost
        from bench.judging.references import load_references
        from bench.judging.tolerances import load_tolerances

        own, fresh = load_own_claims(name), self._fresh
        for match in get_args(Cost):
            claims = own.at(match) if own else None
            if claims is None:
                continue

            def matched(spec: "TableSpec", known: Costs, cells: Sequence[str], match: Cost = match) -> "TableSpec":
                from bench.tables.match import matched  # takes torch

                return matched(spec, match, known, moving=cells)

            for profile, data in self._sizes(name, table):
                references = load_references(name, profile, data)
                evidence = evidence_at_equal_cost(table(profile, data), claims, references, fresh, matched)
                for line in evidence.left_out:
                    print(f"does not count for {name} at equal {match}: {line}", file=sys.stderr)
                yield from book.entries(evidence, claims, load_tolerances(name, profile, data))

    def _sizes(self, name: str, table: "Table") -> Iterator[tuple[str, str]]:
        """Give every size and data set that is asked for."""
        from bench.judging.references import REFERENCES

        sizes = [each for each in get_args(ProfileName) if each in table.profiles]
        if self.profile is not None:
            is_named = self.table is not None  # then the table itself says why it has no such size
            sizes = [self.profile] if is_named or self.profile in sizes else []
        for profile in sizes:
            there = (path.name for path in sorted((REFERENCES / name / profile).glob("*")))
            stored = (found for found in there if found != STAND_IN)  # about which nobody claims anything
            for data in dict.fromkeys((table.data, *stored)) if self.data is None else (self.data,):
                yield profile, data

    @functools.cached_property
    def _fresh(self) -> tuple[Record, ...]:
        """The finished runs under ``--out``."""
        return tuple(folder.checked_record() for folder in RunFolder.recorded(self.place.runs_dir))


def _modelled() -> "Iterator[ModelledClaim]":
    """Give the claims about machines, judged by the model."""
    from bench.report.claims import ModelledClaim
    from bench.speedup import expected, ratios

    for item in ratios.judge(ratios.load(), expected.speed_ups()):
        claim = item.claim
        yield ModelledClaim(
            name=claim.name,
            work=claim.work,
            source=claim.source,
            statement=claim.statement,
            verdict=item.sentence,
            entries=item.entries,
        )
