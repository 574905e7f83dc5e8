"""What a report says, as strings and in order; the renderers only dress it."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from bench.config.cell import framework_of
from bench.judging.claim_judge import JudgedClaim
from bench.judging.judged_table import JudgedTable
from bench.judging.verdict import Judgement
from bench.report.alarms import alarms
from bench.report.columns import CLAIM_COLUMNS, result_columns
from bench.report.grid import Grid, grid
from bench.report.heading import cost, heading
from bench.report.power import worth

_SMALL = {
    "smoke": "Small run: a tiny encoder, few images, minutes of training. It shows that the code computes "
    "what it computed before. It ranks no methods, and its accuracies are not the papers'.",
}
_MOST_NAMED = 3  # cells that share a reason are named up to here, and counted beyond


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A report.

    Attributes:
        title: of the table.
        lead: the first line: which of the works' claims were judged here, and what the verdicts are about.
        banner: a warning for above the table and inside it; empty for none.
        heading: (what, value) pairs.
        results: the cells.
        alarms: lines right below the cells: what no reader may overlook.
        reasons: (cells, verdict and reason) pairs.
        claims: the papers' relations.
        claim_reasons: (claim, verdict and reason) pairs.
        worth: what the verdicts are worth.
        notes: lines for below.
    """

    title: str
    lead: str
    banner: str
    heading: tuple[tuple[str, str], ...]
    results: Grid
    alarms: tuple[str, ...]
    reasons: tuple[tuple[str, str], ...]
    claims: Grid
    claim_reasons: tuple[tuple[str, str], ...]
    worth: tuple[str, ...]
    notes: tuple[str, ...]


def page(table: JudgedTable) -> Page:
    """Lay out a judged table."""
    small = _SMALL.get(table.spec.profile)
    return Page(
        title=table.spec.title,
        lead=_lead(table),
        banner=table.banner,
        heading=heading(table),
        results=grid(
            "Results: top-1 accuracy in percent, mean ± sd (runs)",
            result_columns(table),
            table.rows,
            group=lambda row: framework_of(row.cell),
        ),
        alarms=tuple(alarms(table)),
        reasons=tuple(_reasons(table)),
        claims=grid("Claims: what the papers say, in our runs", CLAIM_COLUMNS, table.claims),
        claim_reasons=tuple((item.claim.name, claim_reason(item)) for item in table.claims),
        worth=tuple(worth(table)),
        notes=(cost(table), *([small] if small else []), *table.notes),
    )


def _lead(table: JudgedTable) -> str:
    """Say what was found of the works' claims, so that nobody takes a repeated number for a confirmed paper."""
    verdicts = Counter(item.judgement.verdict for item in table.claims)
    outcomes = ", ".join(f"{count} {verdict.value}" for verdict, count in verdicts.items() if verdict.is_judged)
    judged = sum(count for verdict, count in verdicts.items() if verdict.is_judged)
    found = f"Of {len(table.claims)} claims of the works, {judged} were judged at the {table.spec.profile} size"
    return (
        f"{found}{': ' + outcomes if outcomes else ''}. Verdicts on cells compare this code with its own earlier runs, "
        "not with a paper."
    )


def _reasons(table: JudgedTable) -> Iterable[tuple[str, str]]:
    """Give every reason once, with the cells that share it."""
    cells: defaultdict[str, list[str]] = defaultdict(list)
    for row in table.rows:
        if row.judgement.reason:
            cells[_reason(row.judgement)].append(row.cell)
    for reason, found in cells.items():
        if len(found) == len(table.rows) > 1:
            yield f"all {len(found)} cells", reason
        else:
            more = len(found) - _MOST_NAMED
            named = ", ".join(found[: _MOST_NAMED if more > 0 else None])
            yield f"{named} and {more} more" if more > 0 else named, reason


def _reason(judgement: Judgement) -> str:
    return f"{judgement.verdict.value}: {judgement.reason}" if judgement.reason else judgement.verdict.value


def claim_reason(item: JudgedClaim) -> str:
    """Say why, then list every pair that was compared."""
    pairs = "; ".join(
        f"{pair} = {pair.comparison.difference:+.2f} (n = {pair.comparison.new_runs})" for pair in item.pairs
    )
    return f"{_reason(item.judgement)} Pairs: {pairs}." if pairs else _reason(item.judgement)
