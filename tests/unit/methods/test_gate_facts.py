"""What a gated run says of its gates, how a threshold is turned, and what a target's gates do after a step."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from methods import GATES, GateSetting
from methods.branches import Branches
from methods.draws import StepNoise
from methods.gating import measure
from methods.gating.control import GatedMethod, Knob, _Found
from methods.gating.layer import Note, gated
from methods.gating.measure import Budget, observe
from tests.strategies import counted_once, resnet_branches

IMAGES = torch.randn(9, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def attached(name: str, *, tied: bool, steps: int = 100, period: float = 0.1) -> tuple[GatedMethod, Branches]:
    branches = resnet_branches(tied=tied)
    method = GATES[name](GateSetting(reduction=1.5, seed=0, period_fraction=period))
    with counted_once():
        method.attach(branches, steps)
        method.hold_out(IMAGES[:2])
    return method, branches


@pytest.mark.parametrize("name", ["channel_gate", "group_gate", "spatial_gate"])
def test_facts_are_of_both_branches_and_gates_pay_for_what_decides(name: str) -> None:
    method, pair = attached(name, tied=False)
    with torch.no_grad():  # the target decides otherwise
        for path, parameter in pair.target.named_parameters():
            if "conv" not in path:
                parameter.add_(0.3)
    for layer, other in zip(gated(pair.online).values(), gated(pair.target).values(), strict=True):
        layer.tally.copy_(torch.tensor([3.0, 4.0]))
        other.tally.copy_(torch.tensor([1.0, 4.0]))
    budget, seen = Budget.of(pair.online, (3, 32, 32)), observe(pair.online, pair.target, IMAGES)
    found = method.gate_facts(lambda: IMAGES)
    overhead = [each.overhead_macs + budget.predictors for each in (seen.online, seen.target)]
    assert found.facts["gate_overhead_macs"] == overhead[0]
    assert (budget.predictors > 0) is (name != "channel_gate")
    shares = ((found.online_share, 0.75, overhead[0]), (found.target_share, 0.25, overhead[1]))
    for share, tally, more in shares:  # the networks that decide once: they were counted twice
        assert share == pytest.approx((budget.dense - budget.gated * (1 - tally) + more) / budget.dense)
    for end, activity in (("", seen.online), ("_target", seen.target)):
        reduction = budget.reduction(activity.share(budget), activity.overhead_macs)
        assert found.facts[f"reduction{end}"] == pytest.approx(reduction)
        assert found.facts[f"gate_rate_per_layer{end}"] == activity.rates
    expected = {
        f"{branch}/{path}": each
        for branch, encoder in (("online", pair.online), ("target", pair.target))
        for path, each in measure.maps(encoder, IMAGES[:6]).items()
    }
    assert found.maps.keys() == expected.keys()
    assert all(torch.equal(each, expected[path]) for path, each in found.maps.items())
    for factor, is_met in ((1.0, True), (1.02, True), (1.04, False)):
        asked = factor * float(str(found.facts["reduction"]))
        method.setting = dataclasses.replace(method.setting, reduction=max(1.0, asked))
        assert method.gate_facts(lambda: IMAGES).facts["reduction_is_met"] is is_met


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (2, 5, 4, 4)])
def test_a_map_has_a_pixel_for_each_that_gates_know(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    gates = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5
    monkeypatch.setattr(measure, "_seen", lambda *_: ({"a": SimpleNamespace(gates=gates)}, None))
    (found,) = measure.maps(nn.Identity(), torch.empty(0)).values()
    for image, of_image in zip(found, gates.double(), strict=True):
        if of_image.ndim == 3:
            assert torch.equal(image, of_image.mean(0))
        else:
            assert image.shape == (1, 1)
            assert image.item() == pytest.approx(of_image.mean().item())


@given(st.floats(0.1, 3.0), st.floats(-2.0, 2.0), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
@settings(max_examples=20)
def test_a_turn_goes_half_the_way_to_where_normal_logits_would_execute_the_wanted_share(
    spread: float, aim: float, found: float, wanted: float
) -> None:
    method: Any = GATES["spatial_gate"](GateSetting(reduction=1.5, seed=0))
    method._wanted = wanted
    method.knobs = lambda: {"aim": Knob(aim=aim, spread=spread)}
    turned = method._turned(_Found(shares={"aim": found}, reductions={}))["aim"]
    normal = torch.distributions.Normal(0.0, 1.0)
    mean = aim + spread * normal.icdf(torch.tensor(found)).item()  # of logits that exceed the aim so often
    there = mean - spread * normal.icdf(torch.tensor(wanted)).item()
    assert turned == pytest.approx((aim + there) / 2, abs=1e-4)


@pytest.mark.parametrize(
    ("steps", "period", "settling"), [(100, 0.1, range(85, 101)), (1000, 0.1, range(850, 1001, 10))]
)
def test_it_is_steered_once_a_period_from_a_quarter_on_and_sixteen_times_at_the_end(
    steps: int, period: float, settling: range
) -> None:
    method, _ = attached("dual_gate", tied=True, steps=steps, period=period)
    due = [done for done in range(1, steps + 1) if method._is_due(done)]
    assert due == [*range(3 * steps // 10, 85 * steps // 100, steps // 10), *settling]


def test_no_two_steps_ranks_or_seeds_draw_the_same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    device, total = torch.device("cpu"), 7
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    drawn = list[float]()
    for rank in range(3):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        for seed in range(3):
            noise = StepNoise(seed)
            for step in range(total):
                drawn.append(torch.rand(1, generator=noise.at(step, total, device), dtype=torch.float64).item())
    assert len(set(drawn)) == 3 * 3 * total


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["dual_gate", "dual_gate_averaged", "shared_gate"])
def test_thresholds_of_a_target_follow_as_their_kind_does(name: str, *, tied: bool) -> None:
    """Own ones only where they learn; averaged ones by a hundredth, where no average of the framework does."""
    method, pair = attached(name, tied=tied)
    online, target = (next(iter(gated(each).values())).get_submodule("gate") for each in (pair.online, pair.target))
    with torch.no_grad():
        for gate, aim, deviation in ((target, 1.0, 3.0), (online, 2.0, 4.0)):
            gate.get_buffer("aim").fill_(aim)
            gate.get_parameter("deviation").fill_(deviation)
    method.follow()
    moved = target.get_buffer("aim").item(), target.get_parameter("deviation")[0].item()
    expected = {
        "dual_gate": (1.0, 3.0 if tied else 0.0),
        "dual_gate_averaged": (1.01, 3.01 if tied else 3.0),
        "shared_gate": (2.0, 4.0),
    }
    assert moved == pytest.approx(expected[name])
    assert (online.get_buffer("aim").item(), online.get_parameter("deviation")[0].item()) == (2.0, 4.0)


def test_a_decision_that_no_target_took_over_is_gone_after_the_step() -> None:
    method, pair = attached("single_gate", tied=False)
    pair.online(IMAGES)  # of a framework whose target sees nothing
    method.follow()
    layers = [next(iter(gated(each).values())) for each in (pair.online, pair.target)]
    notes: list[list[Note]] = [[], []]
    for layer, of_layer in zip(layers, notes, strict=True):
        layer.notes = of_layer
    pair.online(IMAGES.flip(0))
    pair.target(IMAGES)
    assert torch.equal(notes[1][0].gates, notes[0][0].gates)
