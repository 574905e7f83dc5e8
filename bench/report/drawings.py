"""What is drawn of a table."""

from bench.judging.judged_table import JudgedTable
from bench.report.cost_plot import COSTS, REDUCTION, accuracy_against_cost
from bench.report.html import Drawing
from bench.report.overlap_plot import has_overlap, overlap_along_training


def drawings(table: JudgedTable) -> tuple[Drawing, ...]:
    """Return the drawings of a table, the most telling first."""
    if table.has_gates:
        return (
            Drawing(
                name="reduction",
                title="Accuracy against the reduction of MACs",
                content=accuracy_against_cost(table, REDUCTION),
            ),
        )
    drawn = [
        Drawing(name=fact, title=f"Accuracy against {title}", content=accuracy_against_cost(table, fact))
        for fact, title in COSTS.items()
    ]
    if has_overlap(table):
        drawn.append(
            Drawing(
                name="overlap",
                title="Overlap of the branches' masks along training",
                content=overlap_along_training(table),
            )
        )
    return tuple(drawn)
