"""Laws of runs of several stages, one-shot pruning and lottery tickets: what is pruned when, and from which weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightly.utils.scheduler import CosineWarmupScheduler
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from bench.training.rates import factor, scheduler_for
from methods import METHODS, masking
from methods.branches import Branches
from methods.granularity.base import budget
from methods.macs import Passes, TrainingMacs, effective_macs, inference_macs
from methods.method import SparseMethod
from methods.pruning.one_shot import OneShot
from methods.pruning.ticket import Ticket, rounds
from methods.setting import Setting
from methods.stages import Stage
from tests.strategies import IMAGE, SIZES, branches, images, loss_of, train

TOTAL = 40
ALL_WEIGHTS = sum(SIZES.values())


def attached(name: str, *, tied: bool, density: float = 0.2) -> tuple[SparseMethod, Branches, Optimizer]:
    method, pair = METHODS[name](Setting(density=density, seed=7)), branches(tied=tied)
    method.attach(pair, TOTAL)
    return method, pair, SGD(pair.online.parameters(), lr=0.05, momentum=0.9)


def ones(module: nn.Module) -> int:
    return sum(masking.counts(module).values())


def values(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items() if not name.endswith(".mask")}


def largest(strength: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """The mask of the largest entries of all layers together, from one sorted list of places."""
    places = [(name, index) for name, each in strength.items() for index in range(each.numel())]
    places.sort(key=lambda place: -float(strength[place[0]].flatten()[place[1]]))
    masks = {name: torch.zeros(each.numel()) for name, each in strength.items()}
    for name, index in places[:count]:
        masks[name][index] = 1.0
    return {name: mask.reshape(strength[name].shape) for name, mask in masks.items()}


# The learning rate


def test_each_stage_starts_at_its_rate_and_falls_along_a_cosine_to_a_thousandth_of_it() -> None:
    stages = (Stage(start_step=10, rate=0.5), Stage(start_step=25, rate=0.1))
    rates = [factor(step, stages, warmup_steps=4, total_steps=TOTAL) for step in range(TOTAL)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert [rates[4], rates[10], rates[25]] == [1.0, 0.5, 0.1]
    assert [rates[9], rates[24], rates[39]] == pytest.approx([0.001, 0.0005, 0.0001])
    assert rates[10 + 7] == pytest.approx(0.5 * (1.0 + 0.001) / 2)  # half-way between steps 10 and 24
    assert all(
        later < before
        for start, end in ((4, 10), (10, 25), (25, 40))
        for before, later in zip(rates[start : end - 1], rates[start + 1 : end], strict=True)
    )


@given(st.integers(0, 5), st.integers(1, 30))
def test_without_stages_the_schedule_is_lightlys(warmup: int, total: int) -> None:
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = scheduler_for(optimizer, (), warmup_steps=min(warmup, total), total_steps=total)
    assert isinstance(scheduler, CosineWarmupScheduler)


def test_the_optimizer_sees_the_stages() -> None:
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    stages = (Stage(start_step=3, rate=0.1),)
    scheduler = scheduler_for(optimizer, stages, warmup_steps=0, total_steps=6)
    for step in range(6):
        assert optimizer.param_groups[0]["lr"] == 0.3 * factor(step, stages, warmup_steps=0, total_steps=6)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(("start_step", "rate"), [(-1, 0.1), (0, 0.0), (3, -1.0)])
def test_a_stage_has_a_step_and_a_rate(start_step: int, rate: float) -> None:
    with pytest.raises(ValueError, match="a stage starts at a step from 0 on, at a rate above 0"):
        Stage(start_step=start_step, rate=rate)


# One shot


@pytest.mark.parametrize("tied", [False, True])
def test_one_shot_is_dense_then_keeps_the_largest_of_that_moment_for_good(tied: bool) -> None:  # noqa: FBT001
    method, pair, optimizer = attached("one_shot", tied=tied)
    for _ in train(method, pair, optimizer, steps=range(20)):
        assert ones(pair.online) == ones(pair.target) == ALL_WEIGHTS
    strength = {name: latent.detach().abs() for name, latent in masking.latent(pair.online).items()}
    expected = largest(strength, budget(ALL_WEIGHTS, 0.2))
    for _ in train(method, pair, optimizer, steps=range(20, TOTAL)):
        for module in (pair.online, pair.target):
            assert all(torch.equal(mask, expected[name]) for name, mask in masking.read(module).items())
    assert method.facts().update_steps == (20,)
    assert method.stages == (Stage(start_step=20, rate=0.1),)


def test_the_dense_stage_is_in_the_budget_of_training() -> None:
    method, pair, optimizer = attached("one_shot", tied=True)
    counted = TrainingMacs(pair, IMAGE, Passes(online=1, target_trained=1, target_forward=0))
    dense = inference_macs(pair.online, IMAGE)
    for step in range(TOTAL):
        method.before_forward(step)
        counted.observe()
        for _ in train(method, pair, optimizer, steps=range(step, step + 1)):
            pass
    sparse = sum(effective_macs(pair.online, dense).values()) / sum(dense.values())
    # 21 of 40 steps compute densely: the one whose gradient is there when the mask comes, too.
    assert counted.ratio == pytest.approx((21 + 19 * sparse) / 40)


@pytest.mark.parametrize("fraction", [0.0, 0.95])
def test_one_shot_leaves_time_to_tune(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"a dense stage of .* use a fraction in \(0, 0.9\]"):
        OneShot(Setting(density=0.2, seed=0), dense_fraction=fraction)


# Tickets


@given(st.floats(0.005, 1.0), st.floats(0.05, 0.9))
def test_rounds_multiply_and_end_at_the_density(density: float, pruned: float) -> None:
    found, left = rounds(density, pruned), 1.0
    for each in found[:-1]:
        left *= 1 - pruned
        assert each == left > density
    assert (found[-1] == density) if density < 1.0 else found == ()


def test_ten_prunings_of_a_fifth_leave_a_tenth() -> None:
    assert rounds(0.1, 0.2)[:3] == pytest.approx((0.8, 0.64, 0.512))
    assert len(rounds(0.1, 0.2)) == 11  # 0.8 ** 10 is 0.107


@pytest.mark.parametrize("tied", [False, True])
def test_every_round_starts_from_the_pre_trained_weights_under_a_smaller_mask(tied: bool) -> None:  # noqa: FBT001
    method, pair, optimizer = attached("ticket", tied=tied)
    steps = [stage.start_step for stage in method.stages]
    assert steps[0] == 16
    assert steps[-1] == 28
    for _ in train(method, pair, optimizer, steps=range(16)):
        pass
    start = [values(module) for module in (pair.online, pair.target)]
    for step in range(16, TOTAL):
        before = masking.read(pair.online)
        if step in steps:  # were they ranked, weights that are gone would come first
            for name, latent in masking.latent(pair.online).items():
                latent.data[before[name] == 0] += 100.0
        trained = {
            name: latent.detach().abs().masked_fill(before[name] == 0, -1.0)
            for name, latent in masking.latent(pair.online).items()
        }
        method.before_forward(step)
        loss_of(pair, images(torch.Generator().manual_seed(step), 8)).backward()
        assert method.on_gradient(step, optimizer) is (step not in steps)
        if step in steps:
            density = method.facts().curves["density"][-1]
            expected = largest(trained, budget(ALL_WEIGHTS, density))
            for module, weights in zip((pair.online, pair.target), start, strict=True):
                assert all(torch.equal(mask, expected[name]) for name, mask in masking.read(module).items())
                assert all(torch.equal(tensor, weights[name]) for name, tensor in values(module).items())
            assert not any(bool((mask > before[name]).any()) for name, mask in expected.items())
            assert not optimizer.state
        else:
            optimizer.step()
            assert any(not torch.equal(tensor, start[0][name]) for name, tensor in values(pair.online).items())
        optimizer.zero_grad(set_to_none=True)
        method.on_step(step)
    assert ones(pair.online) == budget(ALL_WEIGHTS, 0.2)


def test_rounds_that_share_a_step_are_one() -> None:
    method, pair = METHODS["ticket"](Setting(density=0.02, seed=0)), branches(tied=True)
    method.attach(pair, 10)
    assert [stage.start_step for stage in method.stages] == [4, 5, 6, 7]


@pytest.mark.parametrize(
    "changes",
    [{"pretrain_fraction": 0.0}, {"pretrain_fraction": 0.8}, {"found_fraction": 0.95}, {"pruned_fraction": 1.0}],
)
def test_impossible_rounds_are_refused_with_the_way_out(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"use 0 < pretrain <= found <= 0.9 and a fraction in \(0, 1\)"):
        Ticket(Setting(density=0.2, seed=0), **changes)
