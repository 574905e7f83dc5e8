"""What no reader of a table may overlook: rows that learnt nothing, features that collapsed, layers that are empty."""

from collections.abc import Iterable

from bench.judging.equal_cost import EQUAL_WITHIN
from bench.judging.judged_table import JudgedTable, Row

FACTS = {"macs": "macs_ratio", "training-macs": "training_macs_ratio"}


def alarms(table: JudgedTable) -> Iterable[str]:
    """Give the lines that stand right below the results."""
    yield from _unequal(table)
    yield from _floor(table)
    for row in table.rows:
        found = tuple(_ills(row))
        if found:
            yield f"{row.cell}: {', '.join(found)} (means over its runs)."


def _floor(table: JudgedTable) -> Iterable[str]:
    """Say which rows are not surely above an untrained encoder, and how that is tested."""
    tested = [row for row in table.rows if row.versus_untrained]
    if not tested:
        return
    how = (
        "One-sided t-test of fresh runs and references together against the untrained row, with the spread within "
        f"cells of the framework, at the level {table.tolerances.alpha:g} for each row."
    )
    below = table.not_above_untrained
    if not below:
        yield f"All {len(tested)} trained rows are surely above an untrained encoder. {how}"
        return
    named = ", ".join(f"{row.cell} ({_gain(row)})" for row in below)
    yield f"NOT SURELY ABOVE AN UNTRAINED ENCODER: {named}. {how}"


def _unequal(table: JudgedTable) -> Iterable[str]:
    """Name the rows whose measured cost is not that of their leader, where costs were to be equal."""
    if not table.spec.match:
        return
    fact = FACTS[table.spec.match]
    costs = {row.cell: row.facts[fact] for row in table.rows}
    ratios = {
        cell: own / other
        for cell, leader in table.spec.leaders
        if (own := costs.get(cell)) and (other := costs.get(leader))
    }
    off = [f"{cell} ({ratio:.2f} times)" for cell, ratio in ratios.items() if abs(ratio - 1.0) > EQUAL_WITHIN]
    if off:
        yield f"NOT AT EQUAL COST, as measured against the row they were brought to: {', '.join(off)}."
    elif ratios:
        yield f"All {len(ratios)} rows that were brought to another one's cost are within {EQUAL_WITHIN:.0%} of it."


def _gain(row: Row) -> str:
    assert row.versus_untrained
    return f"{row.versus_untrained.comparison.difference:+.2f} points"


def _ills(row: Row) -> Iterable[str]:
    """Name what is unhealthy about a row's encoders, as far as its records say anything."""
    constant, rank, emptied = (row.facts[name] for name in ("constant_features", "effective_rank", "emptied_layers"))
    if constant:
        yield f"{constant:.1f} constant output features" + ("" if rank is None else f" (effective rank {rank:.1f})")
    if emptied:
        yield f"{emptied:.1f} layers that the allocation emptied"
