"""The columns of a judged table and of its claims: to add one, add a value here."""

from collections.abc import Callable, Iterable

from bench.config.cell import parse_cell
from bench.data.known import title_of
from bench.judging.claim_judge import JudgedClaim
from bench.judging.contrast import DENSE
from bench.judging.judged_table import (
    COMPACT_SHARE,
    CONTAINMENT,
    OVERLAP,
    STEP_SHARE,
    TRAIN_SECONDS,
    TRANSFERS,
    JudgedTable,
    Row,
    Sample,
)
from bench.report.grid import ALWAYS_WIDE, HTML_ONLY, NOTHING, Column
from bench.report.power import METRIC_TITLES
from bench.runs.record import METRICS

CELL: Column[Row] = Column(title="cell", show=lambda row: row.cell)
VERDICT: Column[Row] = Column(title="against our references", show=lambda row: row.judgement.verdict.value)


def result_columns(table: JudgedTable) -> Iterable[Column[Row]]:
    """Give the columns of the results, the metric that decides first."""
    judged_metric = table.tolerances.judged_metric
    yield CELL
    if not table.shows_references:
        yield VERDICT
    yield from _metric_columns(judged_metric, rank=0)
    yield _number("vs dense, ± 95 %", _versus_dense)
    for metric in METRICS:
        if metric != judged_metric:
            yield from _metric_columns(metric, rank=1)
    yield from _gate_columns(judged_metric)
    for name in TRANSFERS:
        yield _fact(f"linear on {title_of(name)}", f"transfer_{name}_percent", rank=0, digits=2)
    yield _fact("density", "density_prunable", rank=1)
    yield _fact("density, whole encoder", "density_encoder", rank=ALWAYS_WIDE)
    yield _fact("MACs", "macs_ratio", rank=2)
    yield _fact("training MACs", "training_macs_ratio", rank=2)
    if any(row.facts[COMPACT_SHARE] is not None for row in table.rows):
        yield _fact("MACs, training compactly", COMPACT_SHARE, rank=1)
        yield _fact("CPU time of a step, compact / masked", STEP_SHARE, rank=1, digits=3)
        yield _fact("CPU-seconds of training", TRAIN_SECONDS, rank=1, digits=1)
    yield _fact("overlap of the branches beyond chance", OVERLAP, rank=2)
    yield _fact("share of the sparser branch's mask in the other's", CONTAINMENT, rank=2)
    yield _fact("constant features", "constant_features", rank=ALWAYS_WIDE, digits=1)
    yield _fact("effective rank", "effective_rank", rank=ALWAYS_WIDE, digits=1)
    yield _fact("weights in the emptiest layer", "emptiest_layer_weights", rank=ALWAYS_WIDE, digits=1)
    yield _fact("emptied layers", "emptied_layers", rank=ALWAYS_WIDE, digits=1)
    yield Column(title="repeat it", show=table.command, rank=HTML_ONLY, is_command=True)


def _metric_columns(metric: str, rank: int) -> Iterable[Column[Row]]:
    title, after = METRIC_TITLES[metric], rank + 1

    def difference(row: Row) -> str:
        found = row.difference(metric)
        return NOTHING if found is None else f"{found:+.2f}"

    yield _number(title, lambda row: _sample(row.new[metric]), rank=rank)
    yield _number(f"{title}, 95 % interval", lambda row: _interval(row.new[metric]), rank=ALWAYS_WIDE)
    yield _number(f"{title}, references", lambda row: _sample(row.references[metric]), rank=after)
    yield _number("diff.", difference, rank=after)


def _versus_dense(row: Row) -> str:
    if row.versus_dense is None:
        return "base" if parse_cell(row.cell).method == DENSE else NOTHING
    found = row.versus_dense.comparison
    return f"{found.difference:+.2f} ± {found.interval()[1] - found.difference:.2f}"


def _gate_columns(metric: str) -> Iterable[Column[Row]]:
    def agreement(row: Row) -> str:
        found, chance = row.facts["gate_agreement"], row.facts["gate_agreement_by_chance"]
        return NOTHING if found is None else f"{found:.3f} ({chance:.3f})"

    yield _number("reduction of MACs", _reduction)
    yield _fact("target's", "reduction_target", rank=1, digits=3)
    yield _fact(f"{METRIC_TITLES[metric]} of the target branch", f"{metric}_target", rank=1, digits=2)
    yield _number("gates agree on an image (by chance)", agreement, rank=2)


def _reduction(row: Row) -> str:
    """Return the measured reduction, and the one asked for where a branch of some run missed it."""
    asked, found = row.facts["reduction_asked"], row.facts["reduction"]
    if asked is None or found is None:
        return NOTHING
    runs = row.new[METRICS[0]].n or row.references[METRICS[0]].n
    return f"{found:.3f}, {row.missed} of {runs} MISSED {asked:.2f}" if row.missed else f"{found:.3f}"


def _number(title: str, show: Callable[[Row], str], *, rank: int = 0) -> Column[Row]:
    return Column(title=title, show=show, is_number=True, rank=rank)


def _fact(title: str, name: str, *, rank: int, digits: int = 4) -> Column[Row]:
    def show(row: Row) -> str:
        value = row.facts[name]
        return NOTHING if value is None else f"{value:.{digits}f}"

    return _number(title, show, rank=rank)


def _sample(sample: Sample) -> str:
    if sample.mean is None:
        return NOTHING
    sd = f" ± {sample.sd:.2f}" if sample.sd is not None else ""
    return f"{sample.mean:.2f}{sd} ({sample.n})"


def _interval(sample: Sample) -> str:
    return f"{sample.interval[0]:.2f} to {sample.interval[1]:.2f}" if sample.interval else NOTHING


def _smallest_gain(item: JudgedClaim) -> str:
    found = min((pair.comparison.difference for pair in item.pairs), default=None)
    return NOTHING if found is None else f"{found:+.2f}"


CLAIM_COLUMNS: tuple[Column[JudgedClaim], ...] = (
    Column(
        title="claim",
        show=lambda item: f"{item.claim.name} (primary)" if item.claim.is_primary else item.claim.name,
    ),
    Column(title="work", show=lambda item: item.claim.work, rank=1),
    Column(title="verdict", show=lambda item: item.judgement.verdict.value),
    Column(title="smallest gain found", show=_smallest_gain, is_number=True),
    Column(title="claimed above", show=lambda item: f"{item.claim.least_gain_points:+.2f}", is_number=True),
    Column(title="metric", show=lambda item: METRIC_TITLES.get(item.claim.metric, item.claim.metric), rank=ALWAYS_WIDE),
    Column(title="statement", show=lambda item: item.claim.statement, rank=ALWAYS_WIDE),
    Column(title="source", show=lambda item: f"{item.claim.source} ({item.claim.source_kind})", rank=ALWAYS_WIDE),
)
