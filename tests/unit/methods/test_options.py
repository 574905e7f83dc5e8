"""A method's own parameters: which there are, and what is refused."""

from functools import partial

import pytest

from methods import GATES, METHODS, GateSetting, Setting, build
from methods.options import parameters
from methods.pruning.rigl import Rigl
from methods.setting import END_FRACTION
from tests.strategies import setting_of

SETTING = Setting(density=0.1, seed=0)


@pytest.mark.parametrize("key", METHODS)
def test_a_method_can_be_built_with_each_of_its_own_parameters_named(key: str) -> None:
    setting = setting_of(key)
    for name, default in parameters(METHODS[key]).items():
        assert type(build(METHODS, key, setting, [(name, default)])) is type(METHODS[key](setting))


def test_an_option_reaches_the_method() -> None:
    without = build(METHODS, "synchronized", SETTING, [("prune_rate", 0.0)])
    assert build(METHODS, "synchronized", SETTING).splits_branches
    assert not without.splits_branches


def test_what_makes_the_key_what_it_is_cannot_be_set() -> None:
    assert {"growth", "replaces_step"}.isdisjoint(parameters(METHODS["rigl"]))
    assert parameters(partial(Rigl, growth="random")).keys() == {"replaces_step", "fraction", "end_fraction"}
    with pytest.raises(ValueError, match=r"rigl has no parameter 'growth' of its own: it has fraction, end_fraction\."):
        build(METHODS, "rigl", SETTING, [("growth", "random")])
    with pytest.raises(ValueError, match=r"dual_gate has no parameter 'target' of its own: it has none\."):
        build(GATES, "dual_gate", GateSetting(reduction=1.5, seed=0), [("target", "own")])


def test_wrong_types_and_doubles_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rigl: parameter 'fraction' is a float such as 0.3, not 'much'\."):
        build(METHODS, "rigl", SETTING, [("fraction", "much")])
    with pytest.raises(ValueError, match="rigl: parameter 'fraction' is given twice"):
        build(METHODS, "rigl", SETTING, [("fraction", 0.1), ("fraction", END_FRACTION)])
