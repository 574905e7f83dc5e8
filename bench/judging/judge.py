"""From outcomes and references to a judged table; pure, so that the same records can be judged again."""

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from bench.config.cell import framework_of, parse_cell
from bench.config.run import UNTRAINED, Run
from bench.judging import exact
from bench.judging.budget import bears_claims, has_missed
from bench.judging.claim_judge import judge_claims
from bench.judging.claims import Claims
from bench.judging.contrast import DENSE, Contrast, base_of, contrast, half_width, spreads
from bench.judging.evidence import require_same_images
from bench.judging.judged_table import (
    COMPACT_SHARE,
    CONTAINMENT,
    GATE_FACTS,
    HEALTH_FACTS,
    OVERLAP,
    SHOWN_FACTS,
    STEP_SHARE,
    TRAIN_SECONDS,
    TRANSFER_FACTS,
    JudgedTable,
    Row,
    Sample,
)
from bench.judging.power import Design
from bench.judging.statistics import Spread, brown_forsythe_p, compare, pooled_spread
from bench.judging.tolerances import Tolerances
from bench.judging.verdict import MINIMUM_REFERENCES, Judgement, Verdict, judge_together, no_reference
from bench.runs.outcomes import Failed, NotRun, Outcome
from bench.runs.record import METRICS, Record
from bench.tables.spec import TableSpec

_REFERENCES = Judgement(verdict=Verdict.NOT_JUDGED, reason="These are the references; nothing was run.")


def assemble(
    spec: TableSpec,
    outcomes: Sequence[Outcome] | None,
    references: Sequence[Record],
    tolerances: Tolerances,
    claims: Claims,
    *,
    claimed: Sequence[str] = (),
    notes: Sequence[str] = (),
    banner: str = "",
    wall_seconds: float | None = None,
) -> JudgedTable:
    """Judge a table.

    Args:
        spec: the requested cells.
        outcomes: one per requested run; None shows the references and judges only the claims.
        references: all that the table has, also of cells not requested: the spread is pooled over all.
        tolerances: what counts as the same.
        claims: what the papers say.
        claimed: the cells of the whole table, which claims are about; by default those of ``spec``.
        notes: lines to print below, e.g. which runs were made again because code changed.
        banner: a warning, e.g. that a stand-in was trained on.
        wall_seconds: of making the table.

    Raises:
        ValueError: an outcome belongs to no cell of the table, or two to one run.
        RecordError: fresh runs saw different images under one name.
    """
    by_cell = _by_cell(spec, outcomes or ())
    kept = _kept(spec, references)
    fresh = {cell: [item for item in found if isinstance(item, Record)] for cell, found in by_cell.items()}
    decided = {
        run.cell: _without_statistics(run, by_cell[run.cell], kept[run.cell], references, spec, tolerances)
        for run in spec.cells
    }
    compared = [cell for cell, judgement in decided.items() if judgement is None]
    design = _design(compared, fresh, kept, references, tolerances)
    statistics = judge_together(design.comparisons, design.margins, alpha=design.alpha) if design else {}
    shown = kept if outcomes is None else fresh
    missed = {cell: [item for item in found if has_missed(item, tolerances)] for cell, found in shown.items()}
    made_here = [item for found in fresh.values() for item in found]
    require_same_images(made_here)
    broken = {item.run_id for cell, found in fresh.items() for item in found if exact.violations(item, kept[cell])}
    borne = {
        cell: [item for item in found if bears_claims(item, tolerances) and item.run_id not in broken]
        for cell, found in shown.items()
    }
    metric = tolerances.judged_metric
    seen = {cell: _sample(found, metric).values for cell, found in shown.items()}
    everything = {cell: {**_sample(kept[cell], metric).values, **_sample(fresh[cell], metric).values} for cell in kept}
    spread = spreads({cell: (_numbers(kept[cell], metric), _numbers(fresh[cell], metric)) for cell in kept})
    floors = {cell: _beside(cell, UNTRAINED, everything, spread) for cell in decided}
    return JudgedTable(
        spec=spec,
        rows=tuple(
            Row(
                cell=cell,
                new={name: _sample(fresh[cell], name) for name in METRICS},
                references={name: _sample(kept[cell], name) for name in METRICS},
                facts=_facts(cell, shown, spec),
                half_width=half_width(len(seen[cell]), spread.get(framework_of(cell))),
                versus_dense=_beside(cell, DENSE, seen, spread),
                versus_untrained=floors[cell],
                missed=len(missed[cell]),
                judgement=_REFERENCES if outcomes is None else judgement or _learnt(statistics[cell], floors[cell]),
            )
            for cell, judgement in decided.items()
        ),
        claims=judge_claims(
            claims,
            spec.profile,
            {name: {cell: _sample(found, name).values for cell, found in borne.items()} for name in METRICS},
            claimed or spec.names,
        ),
        tolerances=tolerances,
        design=design,
        power=design.power(framework_of) if design else None,
        records=tuple(item for found in shown.values() for item in found),
        shows_references=outcomes is None,
        repetitions=sum(exact.repetitions(fresh[cell], kept[cell]) for cell in fresh),
        notes=tuple(notes),
        banner=banner,
        wall_seconds=wall_seconds,
    )


def _beside(
    cell: str, method: str, values: Mapping[str, Mapping[int, float]], spread: Mapping[str, Spread]
) -> Contrast | None:
    """Compare a trained cell with the dense or the untrained row of its framework."""
    base = base_of(cell, method, values)
    if base is None or base == cell or parse_cell(cell).method == UNTRAINED:
        return None
    return contrast(cell, base, values, spread.get(framework_of(cell)))


def _learnt(judgement: Judgement, floor: Contrast | None) -> Judgement:
    """Return a judgement by statistics; below an untrained encoder nothing is REPRODUCED: nothing was learnt there."""
    if judgement.verdict is not Verdict.REPRODUCED or floor is None or floor.comparison.difference >= 0.0:
        return judgement
    reason = (
        f"Within the margin of its references, but {-floor.comparison.difference:.2f} points below an encoder that "
        "took no step: the same number, and nothing learnt."
    )
    return Judgement(verdict=Verdict.INCONCLUSIVE, reason=reason)


def _owners(spec: TableSpec, records: Sequence[Record]) -> dict[str, str]:
    """Return cells by run id: a record is known by its name, which a knob that was added since then does not change."""
    seeds = {_seed(item) for item in records}
    return {dataclasses.replace(run, seed=seed).run_id: run.cell for run in spec.cells for seed in seeds}


def _kept(spec: TableSpec, references: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the references of each cell. Each is asked once for its name, which takes a millisecond."""
    kept: dict[str, list[Record]] = {run.cell: [] for run in spec.cells}
    owners = _owners(spec, references)
    for item in references:
        kept.get(owners.get(item.run_id, ""), []).append(item)
    return kept


def _by_cell(spec: TableSpec, outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {name: [] for name in spec.names}
    owners = _owners(spec, [item for item in outcomes if isinstance(item, Record)])
    for outcome in outcomes:
        cell = owners.get(outcome.run_id, "") if isinstance(outcome, Record) else outcome.cell
        if cell not in found:
            raise ValueError(f"table {spec.name}: {outcome.run_id} is a run of none of the requested cells.")
        found[cell].append(_checked(outcome, cell) if isinstance(outcome, Record) else outcome)
    twice = [run_id for run_id, count in Counter(item.run_id for item in outcomes).items() if count > 1]
    if twice:
        raise ValueError(f"table {spec.name}: more than one outcome of {', '.join(sorted(twice))}.")
    return found


def _checked(record: Record, cell: str) -> Record | Failed:
    """Turn a record whose metrics are no percentages into a failure: such a run measured nothing."""
    for name in METRICS:
        value = record.metrics.get(name, math.nan)
        if not 0.0 <= value <= 100.0:
            reason = f"{name} is {value}, which is no percentage"
            return Failed(run_id=record.run_id, cell=cell, seed=_seed(record), reason=reason)
    return record


def _without_statistics(
    run: Run,
    outcomes: Sequence[Outcome],
    kept: Sequence[Record],
    references: Sequence[Record],
    spec: TableSpec,
    tolerances: Tolerances,
) -> Judgement | None:
    """Return the judgement of a cell that cannot, or need not, be compared by its metric; else None."""
    failed = [f"seed {item.seed}: {item.reason}" for item in outcomes if isinstance(item, Failed)]
    if failed:
        return Judgement(verdict=Verdict.FAILED, reason="; ".join(failed))
    absent = [f"seed {item.seed}: {item.reason}" for item in outcomes if isinstance(item, NotRun)]
    if absent or not outcomes:
        return Judgement(verdict=Verdict.NOT_RUN, reason="; ".join(absent) or "No run was asked for.")
    records = [item for item in outcomes if isinstance(item, Record)]
    broken = [line for record in records for line in exact.violations(record, kept)]
    if broken:
        reason = f"{'; '.join(broken)}. Numbers moved: re-record, and say why."
        return Judgement(verdict=Verdict.DEVIATES, reason=reason)
    return _without_references(run, kept, references, spec, tolerances)


def _without_references(
    run: Run, kept: Sequence[Record], references: Sequence[Record], spec: TableSpec, tolerances: Tolerances
) -> Judgement | None:
    """Return the judgement of a cell that there is nothing to compare with; else None."""
    if len(kept) < MINIMUM_REFERENCES and spec.settings:
        reason = f"References are of the table's own settings; here {', '.join(spec.settings)}."
        return Judgement(verdict=Verdict.NO_REFERENCE, reason=reason)
    if not tolerances.is_set:
        reason = f"Nothing in the tolerances says what counts as the same on {spec.data}."
        return Judgement(verdict=Verdict.NOT_JUDGED, reason=reason)
    if len(kept) < MINIMUM_REFERENCES:
        table = f"{spec.name} --profile {spec.profile} --data {spec.data}"
        return _other_settings(run, references) or no_reference(len(kept), table)
    return None


def _other_settings(run: Run, references: Sequence[Record]) -> Judgement | None:
    """Say so where references of this cell exist but were made with other settings."""
    slug = run.run_id.rpartition("-s")[0]
    others = [item.run_id for item in references if item.run_id.startswith(f"{slug}-s")]
    others = [name for name in others if name.rpartition("-s")[0] == slug]
    if not others:
        return None
    reason = f"The cell's settings changed since the reference {others[0]} was made: re-record, and say why."
    return Judgement(verdict=Verdict.NO_REFERENCE, reason=reason)


def _design(
    cells: Sequence[str],
    fresh: Mapping[str, Sequence[Record]],
    kept: Mapping[str, Sequence[Record]],
    references: Sequence[Record],
    tolerances: Tolerances,
) -> Design | None:
    """Lay out the comparisons of the judged metric; None without any.

    One spread for a framework, from all its references and the compared new runs about their own means, unless its
    references alone (fixed before anyone's run) spread differently from cell to cell. Frameworks differ too much for
    one spread over the table, and with five runs a cell the test would not notice.
    """
    if not cells:
        return None
    metric = tolerances.judged_metric
    new = {cell: _numbers(fresh[cell], metric) for cell in cells}
    old = {cell: _numbers(kept[cell], metric) for cell in cells}
    margins = {cell: tolerances.margin(framework_of(cell)) for cell in cells}
    settings: defaultdict[str, dict[Run, list[float]]] = defaultdict(dict)
    for item in references:
        setting = dataclasses.replace(item.run, seed=0)
        settings[setting.framework.name].setdefault(setting, []).append(item.metrics[metric])
    pools: dict[str, str] = {}
    spreads: dict[str, Spread] = {}
    for framework in dict.fromkeys(map(framework_of, cells)):
        inside = [cell for cell in cells if framework_of(cell) == framework]
        reference_groups = list(settings[framework].values())
        judged_groups = [group for group in reference_groups if len(group) >= MINIMUM_REFERENCES]
        is_pooled = brown_forsythe_p(judged_groups) >= tolerances.equal_spread_alpha
        common = pooled_spread([*reference_groups, *(new[cell] for cell in inside)])
        for cell in inside:
            pools[cell] = framework if is_pooled else cell
            spreads[cell] = common if is_pooled else pooled_spread([new[cell], old[cell]])
    return Design(
        comparisons={
            cell: compare(new[cell], old[cell], spreads[cell].floored(margins[cell].sd_floor_points)) for cell in cells
        },
        margins=margins,
        alpha=tolerances.alpha,
        pools=pools,
    )


def _numbers(records: Sequence[Record], metric: str) -> list[float]:
    return [item.metrics[metric] for item in records]


def _sample(records: Sequence[Record], metric: str) -> Sample:
    return Sample(dict(sorted((_seed(item), item.metrics[metric]) for item in records)))


def _facts(cell: str, shown: Mapping[str, Sequence[Record]], spec: TableSpec) -> dict[str, float | None]:
    """Return the facts of a row. Where rows have their own numbers of steps, training MACs are per step of the leader.

    (A record counts them per step of its own.)
    """
    facts = {
        name: _mean_fact(shown[cell], name)
        for name in (
            "optimizer_steps",
            *SHOWN_FACTS,
            *GATE_FACTS,
            *TRANSFER_FACTS,
            OVERLAP,
            CONTAINMENT,
            *HEALTH_FACTS,
            COMPACT_SHARE,
        )
    }
    facts |= {STEP_SHARE: _mean_of(shown[cell], _step_share), TRAIN_SECONDS: _mean_of(shown[cell], _train_seconds)}
    leader = dict(spec.leaders).get(cell)
    if leader is not None:
        own, other = (_mean_fact(shown.get(name, ()), "optimizer_steps") for name in (cell, leader))
        ratio = facts["training_macs_ratio"]
        facts["training_macs_ratio"] = None if ratio is None or not own or not other else ratio * own / other
    return facts


def _step_share(record: Record) -> float | None:
    before, after = (record.provenance.get(f"{kind}_step_cpu_milliseconds") for kind in ("masked", "compact"))
    return after / before if isinstance(before, float) and isinstance(after, float) and before else None


def _train_seconds(record: Record) -> float | None:
    found = record.provenance.get(TRAIN_SECONDS)
    return float(found) if isinstance(found, float | int) else None


def _mean_of(records: Sequence[Record], number: Callable[[Record], float | None]) -> float | None:
    found = [each for each in map(number, records) if each is not None]
    return math.fsum(found) / len(found) if found else None


def _mean_fact(records: Sequence[Record], name: str) -> float | None:
    """Return a fact's mean over the runs that have it; of a list of names, their number."""
    found = [item.facts[name] for item in records if name in item.facts]
    values = [float(len(each) if isinstance(each, list) else str(each)) for each in found]
    return math.fsum(values) / len(values) if values else None


def _seed(record: Record) -> int:
    return record.run.seed
