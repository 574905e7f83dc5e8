"""What bears on claims about rows at equal cost: runs of such rows, under the names that these have in the table.

A row that was brought to a cost is a run of its own, with another density or number of steps, and maybe another name.
Claims name rows as they are called before that.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from bench.config.run import UNTRAINED, Run
from bench.errors import UsageError
from bench.judging.claims import Claims
from bench.judging.evidence import Evidence, gathered
from bench.runs.record import Record
from bench.tables.spec import TableSpec

FACTS = ("macs_ratio", "training_macs_ratio", "optimizer_steps")
EQUAL_WITHIN = 0.05  # relative; where counts per layer depend on the weights, a density is only foretold
Costs = Mapping[str, Mapping[str, float]]  # cell -> fact -> mean over its runs
Matched = Callable[[TableSpec, Costs, Sequence[str]], TableSpec]  # table, costs, cells to move


def costs(spec: TableSpec, references: Sequence[Record], fresh: Sequence[Record]) -> Costs:
    """Return what the rows of a table cost: the mean over their references, or over fresh runs where there are none."""
    stored, made = gathered(spec, references, ()).records, gathered(spec, (), fresh).records
    found = {cell: [*(stored.get(cell) or made.get(cell) or {}).values()] for cell in spec.names}
    return {
        cell: {name: math.fsum(float(str(item.facts[name])) for item in runs) / len(runs) for name in FACTS}
        for cell, runs in found.items()
        if runs
    }


def evidence_at_equal_cost(
    spec: TableSpec, claims: Claims, references: Sequence[Record], fresh: Sequence[Record], matched: Matched
) -> Evidence:
    """Return the runs that bear on claims about a table at one equal cost, under the cells of the table as it is.

    Args:
        spec: the whole table.
        claims: all about the same cost.
        references: of the table.
        fresh: a user's runs.
        matched: brings rows to the cost. Called only where some run may be of such a row: it takes an encoder.
    """
    records: dict[str, Mapping[int, Record]] = {}
    left_out: list[str] = []
    if _may_hold_moved_rows(spec, fresh):
        known = costs(spec, references, fresh)
        for claim in claims.claims:
            moving = claim.compared(spec.names)
            try:
                moved = matched(spec, known, moving)
            except UsageError:
                continue  # what a row costs is not known yet: the table, which is told by the claim's command, says so
            evidence = gathered(moved, references, fresh)
            off = dict(_off_cost(moved, evidence, known))
            left_out += off.values()  # rows with references, which stay, are named with the claims of the works
            found = {cell: of_cell for cell, of_cell in evidence.records.items() if cell not in off}
            # No other rows: those of another claim stay here at equal density.
            kept = {*moving, *(run.cell for run in spec.cells if run.sparsity.method == UNTRAINED)}
            pairs = [pair for pair in zip(spec.names, moved.names, strict=True) if pair[0] in kept]
            records |= {before: found[after] for before, after in pairs if after in found}
    return Evidence(spec=spec, records=records, left_out=tuple(dict.fromkeys(left_out)))


def _off_cost(moved: TableSpec, evidence: Evidence, known: Costs) -> Iterator[tuple[str, str]]:
    """Give the cells whose runs did not come to the cost that they were brought to, with what they cost."""
    for cell, leader in moved.leaders:
        of_cell = [
            {name: float(str(item.facts[name])) for name in FACTS} for item in evidence.records.get(cell, {}).values()
        ]
        if not of_cell or leader not in known:
            continue
        own, aim = (
            math.fsum(_cost(each, moved.match) for each in of_cell) / len(of_cell),
            _cost(known[leader], moved.match),
        )
        if abs(own / aim - 1.0) > EQUAL_WITHIN:
            yield cell, f"{cell} cost {own / aim:.2f} times what {leader} does: not at equal {moved.match}"


def _cost(facts: Mapping[str, float], match: str) -> float:
    """Return what a run costs: of inference as a share of dense, of training in dense steps."""
    return facts["macs_ratio"] if match == "macs" else facts["training_macs_ratio"] * facts["optimizer_steps"]


def _may_hold_moved_rows(spec: TableSpec, fresh: Sequence[Record]) -> bool:
    """Return whether a run differs from some row of the table in nothing but what matching moves."""
    own, kinds = {run.run_id for run in spec.cells}, {_unmoved(run) for run in spec.cells}
    return any(
        dataclasses.replace(item.run, seed=0).run_id not in own and _unmoved(item.run) in kinds for item in fresh
    )


def _unmoved(run: Run) -> str:
    """Return the text of a run without seed, density, steps, and share of a control's steps."""
    views = run.views
    plain = dataclasses.replace(
        run,
        seed=0,
        sparsity=dataclasses.replace(run.sparsity, density=1.0, gap=0.0),
        optimizer=dataclasses.replace(run.optimizer, steps=0),
        views=dataclasses.replace(views, control_fraction=1.0) if views.control_pixels else views,
    )
    return plain.canonical_text
