"""Laws of self-damaging contrastive learning: the competitor's mask follows the encoder, which stays dense."""

import dataclasses
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD

from bench.errors import RunError
from bench.frameworks import FRAMEWORKS
from bench.training import parts
from methods import masking
from methods.branches import Branches
from methods.granularity.base import budget
from methods.masking import twin
from methods.pruning.sdclr import SDCLR
from methods.setting import Setting
from tests.strategies import SIZES, branches, images, loss_of, masked_encoder, train
from tests.tiny import tiny_run

TOTAL, PERIOD = 20, 4
sparser = partial(Setting, density=1.0, seed=7)


def attached(gap: float = -0.8) -> tuple[SDCLR, Branches]:
    method, online = SDCLR(sparser(gap=gap, period_fraction=PERIOD / TOTAL)), masked_encoder()
    pair = Branches(online, twin(online, own_statistics=method.splits_branches), tied=True)
    method.attach(pair, TOTAL)
    return method, pair


def largest(pair: Branches, count: int) -> dict[str, Tensor]:
    """The mask of the online encoder's largest latents, from one sorted list of places."""
    latents = {name: latent.detach().abs().flatten().tolist() for name, latent in masking.latent(pair.online).items()}
    places = [
        (-value, order, name, index)
        for order, (name, each) in enumerate(latents.items())
        for index, value in enumerate(each)
    ]
    masks = {name: torch.zeros(len(each)) for name, each in latents.items()}
    for _, _, name, index in sorted(places)[:count]:
        masks[name][index] = 1.0
    return masks


def test_the_twin_keeps_the_largest_weights_of_the_online_encoder_as_they_are_each_period() -> None:
    method, pair = attached()
    optimizer = SGD(pair.online.parameters(), lr=0.5, momentum=0.9)
    count, seen = budget(sum(SIZES.values()), 1.0 - 0.8), set[str]()
    for start in range(0, TOTAL, PERIOD):
        expected = largest(pair, count)
        for _ in train(method, pair, optimizer, steps=range(start, start + PERIOD)):
            assert all(bool(mask.all()) for mask in masking.read(pair.online).values())
            assert all(torch.equal(mask.flatten(), expected[name]) for name, mask in masking.read(pair.target).items())
        seen.add(masking.digest(pair.target))
    assert len(seen) > 2
    facts = method.facts()
    assert facts.update_steps == tuple(range(PERIOD, TOTAL, PERIOD))
    assert facts.curves["target_density"] == pytest.approx((0.2,) * len(facts.update_steps))


def test_the_twin_shares_weights_and_has_a_normalisation_of_its_own() -> None:
    _, pair = attached()
    online = {id(parameter) for parameter in pair.online.parameters()}
    own = [name for name, parameter in pair.target.named_parameters() if id(parameter) not in online]
    norms = [name for name, module in pair.target.named_modules() if isinstance(module, _BatchNorm)]
    assert own == [f"{name}.{part}" for name in norms for part in ("weight", "bias")]
    assert all(id(latent) in online for latent in masking.latent(pair.target).values())


def test_the_gradient_is_that_of_both_branches_as_in_the_two_backward_passes_of_the_code() -> None:
    """Each pass detaches the other branch; together they give the gradient of the one loss."""
    method, pair = attached()
    views = images(torch.Generator().manual_seed(1), 8)
    method.before_forward(0)
    loss_of(pair, views).backward()
    once = [parameter.grad.clone() for parameter in pair.online.parameters() if parameter.grad is not None]
    pair.online.zero_grad(set_to_none=True)
    first, second = views.chunk(2)
    for learns in (pair.online, pair.target):
        online, target = pair.online(first), pair.target(second)
        if learns is pair.online:
            loss = (online - target.detach()).square().mean() + 0.1 * online.square().mean()
        else:
            loss = (online.detach() - target).square().mean()
        loss.backward()
    twice = [parameter.grad for parameter in pair.online.parameters() if parameter.grad is not None]
    for one, two in zip(once, twice, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("density", "gap"), [(1.0, 0.0), (0.5, -0.4), (0.9, 0.1)])
def test_it_exports_a_dense_encoder_and_prunes_its_twin(density: float, gap: float) -> None:
    with pytest.raises(ValueError, match=r"use density 1 and a negative gap, as in d1\.00-g0\.90"):
        SDCLR(Setting(density=density, gap=gap, seed=0))


def test_a_target_without_a_gradient_is_no_competitor() -> None:
    method = SDCLR(sparser(gap=-0.9))
    with pytest.raises(ValueError, match=r"no gradient reaches this framework's target.* use a framework whose"):
        method.attach(branches(tied=False), TOTAL)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_framework_takes_or_refuses_it(framework: str) -> None:
    run = tiny_run(framework, "sdclr", density=1.0, gap=-0.9)
    made = parts.framework_for(run)
    method = parts.method_for(run)
    if made.tied:
        method.attach(made.branches, TOTAL)
        optimizer = parts.optimizer_for(run, made)
        trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        assert {id(parameter) for parameter in made.target.parameters()} <= trained
    else:
        with pytest.raises(ValueError, match="cannot compete"):
            method.attach(made.branches, TOTAL)


def test_a_gap_below_the_density_is_refused() -> None:
    with pytest.raises(ValueError, match="a target that is sparser keeps something"):
        Setting(density=0.3, gap=-0.3, seed=0)
    run = tiny_run("simclr", "dense")
    with pytest.raises(RunError, match="the target would keep nothing"):
        dataclasses.replace(run.sparsity, density=0.3, gap=-0.3)
