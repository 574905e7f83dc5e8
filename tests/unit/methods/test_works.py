"""Every method says where it comes from, in the order of the registries, and what it says of itself holds."""

import pytest
from torch.optim import SGD

from methods import GATES, METHODS, masking
from methods.granularity import parse
from methods.works import WORKS, Work
from tests.strategies import branches, setting_of, takes, train


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


@pytest.mark.parametrize("name", METHODS)
def test_a_method_looks_at_the_dense_gradient_as_its_works_entry_says(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So do training MACs, which count a dense gradient of the weights wherever one is watched."""
    pair = branches(tied=not takes(name, tied=False))
    method, watched = METHODS[name](setting_of(name)), set[int]()
    method.attach(pair, 20)
    original = method.before_forward

    def before_forward(step: int) -> None:
        original(step)
        if masking.Layers(pair.online).has_dense_gradient:
            watched.add(step)

    monkeypatch.setattr(method, "before_forward", before_forward)
    for _ in train(method, pair, SGD(pair.online.parameters(), lr=0.05), steps=range(20)):
        pass
    updates = method.facts().update_steps
    if "weights" in WORKS[name].skips or not updates:
        assert watched <= set(updates)
    else:
        assert watched >= set(range(updates[-1] + 1))


def test_a_year_needs_a_source_and_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="give the year and the source of a work, or neither"):
        Work(title="no address", year=2020)
    with pytest.raises(ValueError, match="name a granularity that it can prune"):
        Work(title="nothing", shapes=())
