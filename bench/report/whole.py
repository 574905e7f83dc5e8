"""All tables on one page: the works' claims first, then each table with its drawings."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.files import ROOT
from bench.judging.claim_judge import JudgedClaim
from bench.judging.judged_table import JudgedTable
from bench.report.columns import CLAIM_COLUMNS
from bench.report.drawings import drawings
from bench.report.grid import NOTHING, Column, grid
from bench.report.html import Drawing, Report, Section
from bench.report.markdown import markdown, titled_grid
from bench.report.page import Page, claim_reason, page

TITLE = "Sparse contrastive learning: what was claimed, and what was found"
MACHINES = ROOT / "results" / "accelerator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A claim, and where it was judged."""

    table: str
    size: str
    judged: JudgedClaim


def _column(of: Column[JudgedClaim]) -> Column[Found]:
    """Return a claim's column for a claim and where it was judged."""
    return Column(title=of.title, show=lambda item: of.show(item.judged), is_number=of.is_number, rank=of.rank)


_WHERE: tuple[Column[Found], ...] = (
    Column(title="table", show=lambda item: item.table),
    Column(title="judged at", show=lambda item: item.size if item.judged.judgement.verdict.is_judged else NOTHING),
)
_COLUMNS = (*(_column(column) for column in CLAIM_COLUMNS if column.title != "work"), *_WHERE)


def whole(tables: Sequence[JudgedTable], gate_maps: Sequence[Drawing] = ()) -> Report:
    """Lay out all tables as one page.

    Args:
        tables: in the order of the page; those of one name at several sizes share their claims.
        gate_maps: of the runs with gates, as far as their maps were kept.
    """
    found = _found(tables)
    sections = [Section(page=page(table), drawings=drawings(table)) for table in tables]
    machines = [
        Drawing(name=path.stem, title=_title(path.stem), content=path.read_bytes())
        for path in sorted(MACHINES.glob("*.svg"))
    ]
    return Report(
        title=TITLE,
        lead=_lead(found),
        claims=grid(
            "Claims: what the works say, in our runs", _COLUMNS, found, group=lambda item: item.judged.claim.work
        ),
        claim_reasons=tuple((f"{item.judged.claim.name} ({item.table})", claim_reason(item.judged)) for item in found),
        sections=tuple(sections),
        drawings=(*gate_maps, *machines),
    )


def whole_markdown(report: Report) -> str:
    """Return the same as Markdown, without the drawings, which Markdown cannot hold."""
    assert report.claims
    blocks = [f"# {report.title}\n\n{report.lead}\n", titled_grid(report.claims)]
    return "\n".join((*blocks, *(_lowered(section.page) for section in report.sections)))


def _lowered(section: Page) -> str:
    """Return a table's Markdown with its heads a level lower."""
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in markdown(section).splitlines()) + "\n"


def _found(tables: Sequence[JudgedTable]) -> list[Found]:
    """Return each claim where it was judged; one that was judged nowhere, once, at the largest of the sizes."""
    found = [
        Found(table=table.spec.name, size=f"{table.spec.profile}, {table.spec.data}", judged=item)
        for table in tables
        for item in table.claims
    ]
    judged = {(item.table, item.judged.claim.name) for item in found if item.judged.judgement.verdict.is_judged}
    last = {(item.table, item.judged.claim.name): item for item in found}
    shown = [
        item
        for item in found
        if item.judged.judgement.verdict.is_judged
        or ((key := (item.table, item.judged.claim.name)) not in judged and last[key] is item)
    ]
    return sorted(shown, key=lambda item: item.judged.claim.work)  # stable


def _lead(found: Sequence[Found]) -> str:
    names = {(item.table, item.judged.claim.name) for item in found}
    verdicts = Counter(item.judged.judgement.verdict for item in found)
    outcomes = ", ".join(f"{count} {verdict.value}" for verdict, count in verdicts.items() if verdict.is_judged)
    judged = sum(count for verdict, count in verdicts.items() if verdict.is_judged)
    said = f"{judged} of {len(names)} claims of the works are judged by our own runs"
    return (
        f"{said}{': ' + outcomes if outcomes else ''}. Verdicts on cells compare this code with its own earlier runs."
    )


def _title(stem: str) -> str:
    return f"Accelerator model: {stem.replace('_', ' ')}"
