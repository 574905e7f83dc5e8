"""Accuracy against what an encoder costs: a panel a framework, a line a method. Read without colour, by its marks."""

import itertools
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from bench.config.cell import parse_cell
from bench.config.run import UNTRAINED
from bench.judging.contrast import DENSE
from bench.judging.judged_table import JudgedTable, Row
from bench.report.heading import seeds_drawn
from bench.report.looks import LEGEND_LINE_INCHES, looks
from bench.report.power import METRIC_TITLES
from bench.report.svg import svg

COSTS = {
    "macs_ratio": "MACs of inference / dense",
    "density_prunable": "density of prunable weights",
    "training_macs_ratio": "MACs of training / dense",
}
REDUCTION = "reduction"  # of MACs by gates; a dense row has 1
_TITLES = {**COSTS, REDUCTION: "reduction of MACs (dense / gated)"}
_STYLE: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
_PANELS_ACROSS = 3
_PANEL_INCHES = 3.0
_LEGEND_COLUMN_INCHES = 2.4


def accuracy_against_cost(table: JudgedTable, fact: str = "macs_ratio") -> bytes:
    """Return the drawing as SVG, the same bytes for the same table."""
    return svg(draw(table, fact))


def draw(table: JudgedTable, fact: str) -> Figure:
    """Return the drawing; bars are 95 % intervals of the mean.

    Args:
        table: what ran is drawn; where nothing did, the references are.
        fact: a key of ``COSTS``, or ``REDUCTION``.
    """
    frameworks = list(dict.fromkeys(row.cell.partition("/")[0] for row in table.rows))
    names = list(dict.fromkeys(_line_of(row.cell) for row in table.rows))
    look_of = dict(zip(names, itertools.cycle(looks()), strict=False))
    with mpl.rc_context(_STYLE):
        across = min(_PANELS_ACROSS, len(frameworks))
        down = -(-len(frameworks) // across)
        width = max(_LEGEND_COLUMN_INCHES * 2, _PANEL_INCHES * across)
        columns = int(width / _LEGEND_COLUMN_INCHES)
        height = 3.0 * down + LEGEND_LINE_INCHES * -(-len(names) // columns)
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        panels = list(grid.flat)[: len(frameworks)]
        for unused in list(grid.flat)[len(frameworks) :]:
            unused.set_visible(False)
        for panel, framework in zip(panels, frameworks, strict=True):
            _panel(panel, [row for row in table.rows if row.cell.startswith(f"{framework}/")], table, fact, look_of)
            panel.set_title(framework, fontsize=9)
            panel.tick_params(labelbottom=True)
        if fact != REDUCTION:
            low, high = panels[0].get_xlim()
            panels[0].set_xticks(_ticks(low, high))  # shared by all
        for panel in panels[-across:]:
            panel.set_xlabel(_TITLES[fact])
        for panel in panels[::across]:
            panel.set_ylabel(f"{METRIC_TITLES[table.tolerances.judged_metric]}, %")
        handles = {
            label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False)
        figure.suptitle(f"{table.spec.caption}; {seeds_drawn(table)}", fontsize=9)
    return figure


def _line_of(name: str) -> str:
    """Return the name of a cell's line: the method, with its shapes where they are not single weights."""
    cell = parse_cell(name)
    shapes = "" if cell.granularity in {"-", "element"} else f" {cell.granularity}"
    gap = "" if "g" not in cell.point else " with gap"
    return f"{cell.method}{shapes}{gap}"


def _panel(
    panel: Axes, rows: list[Row], table: JudgedTable, fact: str, look_of: Mapping[str, Mapping[str, Any]]
) -> None:
    """Draw a framework's rows; every line of a sparse method ends in the dense row."""
    lines: defaultdict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for row in rows:
        sample, cost = table.shown(row), _cost(row, fact)
        if sample.mean is None or cost is None:
            continue
        if parse_cell(row.cell).method == UNTRAINED:
            panel.axhline(sample.mean, color="0.4", linestyle=(0, (1, 3)), linewidth=1, label=UNTRAINED)
        else:
            lines[_line_of(row.cell)].append((cost, sample.mean, row.half_width or 0.0))
    dense = lines.pop(DENSE, [])
    if dense and fact == REDUCTION:  # a method may have one point: what it lost is seen against a line
        panel.axhline(dense[0][1], color="0.4", linestyle="--", linewidth=0.8)
    for name, points in [*lines.items(), (DENSE, dense)]:
        drawn = sorted(points)
        if not drawn:
            continue
        costs, means, bars = zip(*drawn, strict=True)
        look = look_of[name]
        if dense and name != DENSE:  # on to the dense row, thin: nothing was measured between
            on = {key: look[key] for key in ("color", "linestyle")}
            panel.plot([costs[-1], dense[0][0]], [means[-1], dense[0][1]], linewidth=0.6, alpha=0.6, **on)
        panel.errorbar(costs, means, yerr=bars, capsize=2, markersize=6, linewidth=1, label=name, **look)
    panel.grid(alpha=0.3)
    if fact == REDUCTION:
        return
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_locator(NullLocator())


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers on a logarithmic axis; evenly spaced ones where it is too short for two of these."""
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    if len(ticks) < 2:
        ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    return ticks


def _cost(row: Row, fact: str) -> float | None:
    """Return what a row costs; a row that was never gated has a reduction of 1, a gated one without a run none."""
    if fact == REDUCTION and not parse_cell(row.cell).point.startswith("t"):
        return 1.0
    return row.facts[fact]
