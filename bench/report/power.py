"""What the verdicts of a table are worth, in sentences."""

from collections.abc import Iterable, Sequence

from bench.judging.judged_table import JudgedTable
from bench.judging.power import Design, Power

METRIC_TITLES = {"linear_top1_percent": "linear", "knn_top1_percent": "kNN"}


def worth(table: JudgedTable) -> Iterable[str]:
    """Give the rule, the spread, the power, the false alarms and the positive control, a line each."""
    tolerances = table.tolerances
    yield (
        f"Judged by {METRIC_TITLES[tolerances.judged_metric]}; the other metric is only shown. REPRODUCED: "
        f"surely within the margin (two one-sided tests, alpha {tolerances.alpha:g}). DEVIATES: beyond the "
        "margin and surely not zero (Holm over the table), or an exact fact differs. INCONCLUSIVE: too few "
        "runs to say."
    )
    if table.repetitions:
        yield f"{table.repetitions} runs repeat a reference in its environment and were compared bit by bit."
    if table.design is None or table.power is None:
        yield "No cell could be compared statistically."
    else:
        yield _spread(table.design)
        yield _power(table.power)
        yield _control(table.control_missed, len(table.design.comparisons))


def _spread(design: Design) -> str:
    spreads = [item.spread for item in design.comparisons.values()]
    alone = [cell for cell, pool in design.pools.items() if cell == pool]
    kind = f"pooled over each framework{', but not where cells spread unequally' if alone else ''}"
    return (
        f"Margin {_range([item.delta_points for item in design.margins.values()])} points. Spread from seed "
        f"to seed {_range([item.sd for item in spreads])} points ({kind}, "
        f"{min(item.degrees for item in spreads)} degrees of freedom)."
    )


def _power(power: Power) -> str:
    shifts = ", ".join(f"{name} {points:.1f}" for name, points in power.detectable_shifts.items())
    return (
        f"Detectable shift: so many points in one cell, the least sensitive one, are called DEVIATES with a chance of "
        f"80 %: {shifts}. If nothing changed, the chance that some cell is called DEVIATES is "
        f"{_chance(power.false_deviates)}, and the chance that a given cell is called REPRODUCED is at "
        f"least {_chance(power.reproduced)}."
    )


def _control(missed: Sequence[str], cells: int) -> str:
    found = f"is called DEVIATES in {cells - len(missed)} of {cells} cells"
    blind = f", NOT in {', '.join(missed)}" if missed else ""
    return f"Positive control: a planted loss of the margin and 3 sd {found}{blind}."


def _range(values: Iterable[float]) -> str:
    found = sorted(values)
    low, high = f"{found[0]:.2f}", f"{found[-1]:.2f}"
    return low if low == high else f"{low} to {high}"


def _chance(probability: float) -> str:
    return "below 0.1 %" if probability < 0.001 else f"{100 * probability:.1f} %"
