"""Every method says where it comes from, in the order of the registries, and what it says of itself holds."""

import pytest

from methods import GATES, METHODS
from methods.granularity import parse
from methods.works import WORKS, Work
from tests.strategies import setting_of


def test_every_method_has_its_work_in_the_order_of_the_registries() -> None:
    assert list(WORKS) == [*METHODS, *GATES]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_prunes_the_shapes_that_it_names_and_refuses_others(name: str) -> None:
    for shapes in WORKS[name].shapes:
        METHODS[name](setting_of(name, shapes))
    for shapes in {"element", "2:4", "block4x4", "filter"} - set(WORKS[name].shapes):
        if parse(shapes) not in map(parse, WORKS[name].shapes):
            with pytest.raises(ValueError, match=r"granularity|keeps as much in every layer"):
                METHODS[name](setting_of(name, shapes))


def test_a_year_needs_a_source_and_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="give the year and the source of a work, or neither"):
        Work(title="no address", year=2020)
    with pytest.raises(ValueError, match="name a granularity that it can prune"):
        Work(title="nothing", shapes=())
