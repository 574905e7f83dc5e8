"""What no reader of a table may overlook: rows that learnt nothing, features that collapsed, layers that are empty."""

from collections.abc import Iterable

from bench.judging.judged_table import JudgedTable, Row


def alarms(table: JudgedTable) -> Iterable[str]:
    """Give the lines that stand right below the results."""
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


def _gain(row: Row) -> str:
    assert row.versus_untrained
    return f"{row.versus_untrained.comparison.difference:+.2f} points"


def _ills(row: Row) -> Iterable[str]:
    """Name what is unhealthy about a row's encoders, as far as its records say anything."""
    constant, rank, emptied = (row.facts[name] for name in ("constant_features", "effective_rank", "layers_emptied"))
    if constant:
        yield f"{constant:.1f} constant output features" + ("" if rank is None else f" (effective rank {rank:.1f})")
    if emptied:
        yield f"{emptied:.1f} layers that the allocation emptied"
