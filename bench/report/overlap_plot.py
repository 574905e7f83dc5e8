"""How alike the masks of the two branches are along training, where a method keeps two."""

import itertools
from collections import defaultdict
from collections.abc import Mapping

from matplotlib.figure import Figure

from bench.judging.judged_table import JudgedTable
from bench.report.heading import seeds_drawn
from bench.report.looks import LEGEND_LINE_INCHES, looks
from bench.report.svg import svg
from bench.runs.record import Record

CURVE = "overlap_chance_corrected"  # 0: as alike as chance makes them; 1: the same
_PANEL_INCHES = 3.2


def has_overlap(table: JudgedTable) -> bool:
    """Return whether some run kept two masks."""
    return any(_curve(record) for record in table.records)


def overlap_along_training(table: JudgedTable) -> bytes:
    """Return an SVG, the same for the same table: a line a cell, its mean over the runs."""
    return svg(draw(table))


def draw(table: JudgedTable) -> Figure:
    """Return the drawing; each line has one of its own in the legend below."""
    lines = _curves(table)
    figure = Figure(figsize=(7.5, _PANEL_INCHES + LEGEND_LINE_INCHES * len(lines)), layout="constrained")
    panel = figure.subplots()
    for look, (cell, curves) in zip(itertools.cycle(looks()), lines.items(), strict=False):
        length = min(map(len, curves))
        means = [sum(curve[place] for curve in curves) / len(curves) for place in range(length)]
        updates = [place / max(1, length - 1) for place in range(length)]
        panel.plot(updates, means, ms=4, label=cell, **look)
    panel.set(xlabel="mask updates, from the first to the last", ylabel="overlap beyond chance")
    panel.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize="small")
    figure.suptitle(f"{table.spec.caption}; {seeds_drawn(table)}", fontsize="small")
    return figure


def _curves(table: JudgedTable) -> Mapping[str, list[list[float]]]:
    """Return cell -> the curves of its runs."""
    cells = {f"{run.cell.replace('/', '-').replace(':', 'of')}-": run.cell for run in table.spec.cells}
    found: defaultdict[str, list[list[float]]] = defaultdict(list)
    for record in table.records:
        curve = _curve(record)
        if curve:
            found[next(cell for slug, cell in cells.items() if record.run_id.startswith(f"{slug}s"))].append(curve)
    return found


def _curve(record: Record) -> list[float]:
    curves = record.facts.get("curves")
    found = curves.get(CURVE) if isinstance(curves, Mapping) else None
    return [float(value) for value in found] if isinstance(found, list) else []
