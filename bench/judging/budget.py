"""Which runs met the budget that they were asked for, and may therefore bear a claim."""

from bench.judging.judged_table import REDUCTIONS
from bench.judging.tolerances import Tolerances
from bench.runs.record import Record


def has_missed(record: Record, tolerances: Tolerances) -> bool:
    """Return whether gates were asked for a reduction that a gated branch did not reach on the scored images.

    A target without gates has a reduction of 1, exactly; the online branch always has gates.
    """
    if "reduction_asked" not in record.facts:
        return False
    asked, online, target = (float(str(record.facts[name])) for name in ("reduction_asked", *REDUCTIONS))
    gated = (online,) if target == 1.0 else (online, target)
    return any(abs(found / asked - 1) > tolerances.reduction_within for found in gated)


def bears_claims(record: Record, tolerances: Tolerances) -> bool:
    """Return whether a claim may rest on a run: at its budget, and without a gate that tells the views apart."""
    return not has_missed(record, tolerances) and record.facts.get("gates_leak") is not True
