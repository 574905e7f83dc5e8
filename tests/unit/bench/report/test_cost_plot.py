"""The drawings of a table: nothing hides a label or cuts it off, and lines are told apart without colour."""

import functools
import itertools
from collections.abc import Callable

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.judging.claims import load_claims
from bench.judging.judge import assemble
from bench.judging.judged_table import JudgedTable
from bench.judging.tolerances import load_tolerances
from bench.report import overlap_plot
from bench.report.cost_plot import COSTS, _line_of, accuracy_against_cost, draw
from bench.report.looks import looks
from bench.report.overlap_plot import CURVE
from bench.tables import TABLES
from tests.made_up_tables import made_up_record


@functools.cache
def _table(name: str) -> JudgedTable:
    """Return a real table of which every cell ran twice, with made-up numbers."""
    spec = TABLES[name]("smoke", "cifar10")
    runs = [
        made_up_record(run, 30.0 + 7 * index % 11 + run.seed % 2, facts={"curves": {CURVE: [0.1, 0.3, 0.2]}})
        for index, run in enumerate(spec.runs([100, 101]))
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


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        *((name, functools.partial(draw, fact="macs_ratio")) for name in ("cifar10", "structured", "nm")),
        ("asymmetry", overlap_plot.draw),
    ],
)
def test_no_label_overlaps_another_one_or_leaves_the_figure(name: str, drawn: Callable[[JudgedTable], Figure]) -> None:
    """The legend of the overlaps left half an inch to the panel, and cut the name of its axis off."""
    figure = drawn(_table(name))
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
        assert figure.bbox.padded(2).containsy(box.y0), text
        assert figure.bbox.padded(2).containsy(box.y1), text
    assert all(panel.get_window_extent().height > 1.5 * figure.dpi for panel in figure.axes if panel.get_visible())


@pytest.mark.parametrize(
    ("name", "fact"), [*(("cifar10", fact) for fact in COSTS), ("nm", "macs_ratio"), ("structured", "macs_ratio")]
)
def test_every_line_has_marks_of_its_own_and_the_file_is_the_same_each_time(name: str, fact: str) -> None:
    """The table of N:M has more lines than there are marks: two of its methods looked like two others."""
    table = _table(name)
    found = {
        str(container.get_label()): tuple(
            getattr(container.lines[0], f"get_{part}")() for part in ("marker", "fillstyle", "linestyle")
        )
        for panel in draw(table, fact).axes
        for container in panel.containers
        if isinstance(container, ErrorbarContainer)
    }
    assert len(found) >= 10
    assert len(set(found.values())) == len(found)
    drawn = accuracy_against_cost(table, fact)
    assert accuracy_against_cost(table, fact) == drawn
    methods = {name.split("/")[1] for name in table.spec.names}
    assert all(f">{method}" in drawn.decode() for method in methods)


def test_every_overlap_has_a_look_of_its_own() -> None:
    lines = overlap_plot.draw(_table("asymmetry")).axes[0].get_lines()
    assert len({(line.get_marker(), line.get_fillstyle(), line.get_linestyle()) for line in lines}) == len(lines) > 14


@pytest.mark.parametrize("name", TABLES)
def test_no_table_has_more_lines_than_there_are_looks(name: str) -> None:
    about = name if name in {"cifar100", "imagenet100"} else "cifar10"
    sizes = [TABLES[name](profile, about) for profile in ("gpu", "paper")]
    lines = max(len({_line_of(cell) for cell in size.names}) for size in sizes)
    assert lines <= len(looks()) == len({tuple(look.values()) for look in looks()})


def test_a_narrow_range_of_costs_has_a_scale_too() -> None:
    """Methods of one density lie close together: between 0.29 and 0.34 there was no number on the axis."""
    spec = TABLES["cifar10"]("smoke", "cifar10").select("simclr/s*/element/*")
    facts = itertools.cycle({"macs_ratio": ratio} for ratio in (0.29, 0.32, 0.34))
    runs = [made_up_record(run, 40.0, facts=next(facts)) for run in spec.runs([100, 101])]
    table = assemble(spec, runs, [], load_tolerances("cifar10", "smoke", "cifar10"), load_claims("cifar10"))
    panel = draw(table, "macs_ratio").axes[0]
    low, high = panel.get_xlim()
    assert sum(low <= tick <= high for tick in panel.get_xticks()) >= 2
