"""How far gates that know nothing of each other agree."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from methods.gating.control import _chance
from methods.gating.measure import Activity, Observed


def observed(online: float, target: float) -> Observed:
    branches = [Activity(rates={"layer": rate}, shares={}, overhead_macs=0) for rate in (online, target)]
    return Observed(online=branches[0], target=branches[1], agreement={}, features=torch.empty(0))


@given(st.floats(0, 1), st.floats(0, 1))
def test_chance_is_a_probability_and_the_same_for_both_branches(online: float, target: float) -> None:
    (chance,) = _chance(observed(online, target)).values()
    assert -1e-12 <= chance <= 1 + 1e-12
    assert chance == pytest.approx(_chance(observed(target, online))["layer"])


def test_chance_is_what_independent_gates_show() -> None:
    gates = np.random.default_rng(0)
    on = [gates.random(100_000) < rate for rate in (0.2, 0.7)]
    assert _chance(observed(0.2, 0.7))["layer"] == pytest.approx((on[0] == on[1]).mean(), abs=0.01)
