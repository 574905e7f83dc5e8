"""What a report says, as strings and in order; the renderers only dress it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.judging.claims import JudgedClaim
from bench.judging.judged_table import METRICS, SHOWN_FACTS, JudgedTable, Row, Sample
from bench.judging.verdict import Judgement
from bench.report.gate_plots import has_gates
from bench.report.heading import cost, heading
from bench.report.power import METRIC_TITLES, worth

_SMALL = {
    "smoke": "Small run: a tiny encoder, few images, minutes of training. It shows that the code computes "
    "what it computed before. It ranks no methods, and its accuracies are not the papers'.",
}
_NOTHING = "-"
ALWAYS_WIDE = 3  # a rank for columns that only files show


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        title: its head.
        is_number: aligned to the right.
        rank: 0 is always shown; where there is little room, higher ranks are left out first.
    """

    title: str
    is_number: bool = False
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A title, columns, and rows of as many cells."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A report.

    Attributes:
        title: of the table.
        banner: a warning for above the table and inside it; empty for none.
        heading: (what, value) pairs.
        results: the cells.
        reasons: (cell, verdict and reason) pairs.
        claims: the papers' relations.
        claim_reasons: (claim, verdict and reason) pairs.
        worth: what the verdicts are worth.
        notes: lines for below.
    """

    title: str
    banner: str
    heading: tuple[tuple[str, str], ...]
    results: Grid
    reasons: tuple[tuple[str, str], ...]
    claims: Grid
    claim_reasons: tuple[tuple[str, str], ...]
    worth: tuple[str, ...]
    notes: tuple[str, ...]


def page(table: JudgedTable) -> Page:
    """Lay out a judged table."""
    judged = table.tolerances.judged_metric
    metrics = (judged, *(name for name in METRICS if name != judged))
    small, gates = _SMALL.get(table.spec.profile), has_gates(table)
    return Page(
        title=table.spec.title,
        banner=table.banner,
        heading=heading(table),
        results=Grid(
            title="Results: top-1 accuracy in percent, mean ± sd (runs)",
            columns=(
                Column("cell"),
                Column("verdict"),
                *_metric_columns(judged, rank=0),
                *(column for name in metrics[1:] for column in _metric_columns(name, rank=1)),
                *(_gate_columns(judged) if gates else ()),
                *_FACT_COLUMNS,
            ),
            rows=tuple(_row(row, metrics, has_gates=gates) for row in table.rows),
        ),
        reasons=tuple((row.cell, _reason(row.judgement)) for row in table.rows if row.judgement.reason),
        claims=Grid(
            title="Claims: what the papers say, in our runs",
            columns=(
                Column("claim"),
                Column("work", rank=1),
                Column("verdict"),
                Column("smallest gain found", is_number=True),
                Column("claimed above", is_number=True),
                Column("metric", rank=ALWAYS_WIDE),
                Column("statement", rank=ALWAYS_WIDE),
                Column("source", rank=ALWAYS_WIDE),
            ),
            rows=tuple(map(_claim_row, table.claims)),
        ),
        claim_reasons=tuple((item.claim.name, _claim_reason(item)) for item in table.claims),
        worth=tuple(worth(table)),
        notes=(cost(table), *([small] if small else []), *table.notes),
    )


_FACT_COLUMNS = (
    Column("density", is_number=True, rank=1),
    Column("density, whole encoder", is_number=True, rank=ALWAYS_WIDE),
    Column("MACs", is_number=True, rank=2),
    Column("training MACs", is_number=True, rank=2),
)


def _gate_columns(metric: str) -> Iterable[Column]:
    yield Column("reduction of MACs", is_number=True)
    yield Column("target's", is_number=True, rank=1)
    yield Column(f"{METRIC_TITLES[metric]} of the target branch", is_number=True, rank=1)
    yield Column("gates agree on an image (by chance)", is_number=True, rank=2)


def _metric_columns(metric: str, rank: int) -> Iterable[Column]:
    title = METRIC_TITLES[metric]
    yield Column(title, is_number=True, rank=rank)
    yield Column(f"{title}, 95 % interval", is_number=True, rank=ALWAYS_WIDE)
    yield Column(f"{title}, stored", is_number=True, rank=rank + 1)
    yield Column("diff.", is_number=True, rank=rank if rank == 0 else rank + 1)


def _row(row: Row, metrics: Sequence[str], *, has_gates: bool) -> tuple[str, ...]:
    judged, cells = metrics[0], [row.cell, row.judgement.verdict.value]
    for metric in metrics:
        new, stored, difference = row.new[metric], row.stored[metric], row.difference(metric)
        interval = new.interval
        cells += [
            _sample(new),
            f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else _NOTHING,
            _sample(stored),
            f"{difference:+.2f}" if difference is not None else _NOTHING,
        ]
    if has_gates:
        target, scored, agreement, chance = (
            row.facts[name]
            for name in ("reduction_target", f"{judged}_target", "gate_agreement", "gate_agreement_by_chance")
        )
        cells += [
            _reduction(row),
            f"{target:.3f}" if target is not None else _NOTHING,
            f"{scored:.2f}" if scored is not None else _NOTHING,
            f"{agreement:.3f} ({chance:.3f})" if agreement is not None else _NOTHING,
        ]
    shown = (row.facts[name] for name in SHOWN_FACTS)
    return (*cells, *(f"{value:.4f}" if value is not None else _NOTHING for value in shown))


def _reduction(row: Row) -> str:
    """Return the measured reduction, and the one asked for where a branch of some run missed it."""
    asked, found = row.facts["reduction_asked"], row.facts["reduction"]
    if asked is None or found is None:
        return _NOTHING
    runs = len(row.new[METRICS[0]].values) or len(row.stored[METRICS[0]].values)
    return f"{found:.3f}, {row.missed} of {runs} MISSED {asked:.2f}" if row.missed else f"{found:.3f}"


def _sample(sample: Sample) -> str:
    if sample.mean is None:
        return _NOTHING
    sd = f" ± {sample.sd:.2f}" if sample.sd is not None else ""
    return f"{sample.mean:.2f}{sd} ({sample.n})"


def _reason(judgement: Judgement) -> str:
    return f"{judgement.verdict.value}: {judgement.reason}" if judgement.reason else judgement.verdict.value


def _claim_row(item: JudgedClaim) -> tuple[str, ...]:
    claim = item.claim
    found = min((pair.comparison.difference for pair in item.pairs), default=None)
    return (
        f"{claim.name} (primary)" if claim.is_primary else claim.name,
        claim.work,
        item.judgement.verdict.value,
        f"{found:+.2f}" if found is not None else _NOTHING,
        f"{claim.least_gain_points:+.2f}",
        METRIC_TITLES.get(claim.metric, claim.metric),
        claim.statement,
        f"{claim.source} ({claim.source_kind})",
    )


def _claim_reason(item: JudgedClaim) -> str:
    """Say why, then list every pair that was compared."""
    pairs = "; ".join(
        f"{pair.left} - {pair.right} = {pair.comparison.difference:+.2f} (n = {pair.comparison.new_runs})"
        for pair in item.pairs
    )
    return f"{_reason(item.judgement)} Pairs: {pairs}." if pairs else _reason(item.judgement)
