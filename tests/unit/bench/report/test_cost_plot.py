"""The drawing of accuracy against cost: nothing hides a label, and it is read without colour."""

import functools
import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.judging.claims import load_claims
from bench.judging.judge import assemble
from bench.judging.judged_table import JudgedTable
from bench.judging.tolerances import load_tolerances
from bench.report.cost_plot import COSTS, accuracy_against_cost, draw
from bench.tables import TABLES
from tests.made_up_tables import made_up_record


@functools.cache
def _table(name: str) -> JudgedTable:
    """Return a real table of which every cell ran twice, with made-up numbers."""
    spec = TABLES[name]("smoke", "cifar10")
    runs = [
        made_up_record(run, 30.0 + 7 * index % 11 + run.seed % 2) for index, run in enumerate(spec.runs([100, 101]))
    ]
    return assemble(spec, runs, [], load_tolerances(name, "smoke", "cifar10"), load_claims(name))


def _texts(figure: Figure) -> list[Text]:
    """Return what is written, without the labels of ticks beyond the ends of their axis, which are not drawn."""
    beyond = {
        id(tick.label1)
        for panel in figure.axes
        for axis in (panel.xaxis, panel.yaxis)
        for tick in axis.get_major_ticks()
        if not axis.get_view_interval()[0] <= tick.get_loc() <= axis.get_view_interval()[1]
    }
    found = [each for each in figure.findobj(Text) if isinstance(each, Text) and id(each) not in beyond]
    return [each for each in found if each.get_visible() and each.get_text()]


@pytest.mark.parametrize("name", ["cifar10", "structured"])
def test_no_label_overlaps_another_one_or_leaves_the_figure(name: str) -> None:
    figure = draw(_table(name), "macs_ratio")
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    boxes = [(each.get_text(), each.get_window_extent()) for each in _texts(figure)]
    shown = [(text, box) for text, box in boxes if box.width > 0]
    assert len(shown) > 20
    for (one, first), (other, second) in itertools.combinations(shown, 2):
        assert not first.padded(-1).overlaps(second.padded(-1)), (one, other)
    for text, box in shown:
        assert figure.bbox.padded(2).containsx(box.x0), text
        assert figure.bbox.padded(2).containsx(box.x1), text


@pytest.mark.parametrize("fact", COSTS)
def test_every_line_has_marks_of_its_own_and_the_file_is_the_same_each_time(fact: str) -> None:
    table = _table("cifar10")
    looks = {
        str(container.get_label()): (container.lines[0].get_marker(), container.lines[0].get_linestyle())
        for panel in draw(table, fact).axes
        for container in panel.containers
        if isinstance(container, ErrorbarContainer)
    }
    assert len(looks) >= 10
    assert len(set(looks.values())) == len(looks)
    drawn = accuracy_against_cost(table, fact)
    assert accuracy_against_cost(table, fact) == drawn
    methods = {name.split("/")[1] for name in table.spec.names}
    assert all(f">{method}" in drawn.decode() for method in methods)


def test_a_narrow_range_of_costs_has_a_scale_too() -> None:
    """Methods of one density lie close together: between 0.29 and 0.34 there was no number on the axis."""
    spec = TABLES["cifar10"]("smoke", "cifar10").select("simclr/s*/element/*")
    facts = itertools.cycle({"macs_ratio": ratio} for ratio in (0.29, 0.32, 0.34))
    runs = [made_up_record(run, 40.0, facts=next(facts)) for run in spec.runs([100, 101])]
    table = assemble(spec, runs, [], load_tolerances("cifar10", "smoke", "cifar10"), load_claims("cifar10"))
    panel = draw(table, "macs_ratio").axes[0]
    low, high = panel.get_xlim()
    assert sum(low <= tick <= high for tick in panel.get_xticks()) >= 2
