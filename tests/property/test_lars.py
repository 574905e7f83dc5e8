"""LARS against Lightly's, against solo-learn's formula, and against density."""

import copy
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.utils import lars as lightly_lars
from torch import Tensor, nn

from bench.training.lars import LARS, ActingMasks
from methods import masking
from methods.branches import Branches
from tests.strategies import branches

SHAPES = ((8, 4, 3, 3), (16, 8), (5,))


def drawn(seed: int, scale: float = 1.0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(scale * torch.randn(shape, generator=generator)) for shape in SHAPES]


def give_gradients(weights: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator).to(weight.dtype)


def groups(weights: list[nn.Parameter], decay: float) -> list[dict[str, object]]:
    scaled = [weight for weight in weights if weight.ndim > 1]
    others = [weight for weight in weights if weight.ndim <= 1]
    return [
        {"params": scaled, "weight_decay": decay, "is_scaled": True},
        {"params": others, "weight_decay": 0.0, "is_scaled": False},
    ]


@given(st.integers(0, 99), st.sampled_from([1e-3, 1.0, 1e3]), st.floats(0.05, 2.0), st.floats(0.0, 0.95))
@settings(max_examples=15)
def test_it_is_lightlys_where_nothing_is_masked_and_nothing_clipped(
    seed: int, scale: float, rate: float, momentum: float
) -> None:
    # In double precision: a weight that begins at 0 grows beyond the scale, and single precision rounds by its size.
    ours, theirs = ([nn.Parameter(each.detach().double()) for each in drawn(seed, scale)] for _ in range(2))
    with torch.no_grad():
        ours[1].zero_()  # a weight of norm 0
        theirs[1].zero_()
    one = LARS(groups(ours, 1e-2), learning_rate=rate, momentum=momentum, trust=0.02)
    other = lightly_lars.LARS(groups(theirs, 1e-2), lr=rate, momentum=momentum, trust_coefficient=0.02)
    for step in range(4):
        for optimizer, weights in ((one, ours), (other, theirs)):
            give_gradients(weights, step)
            optimizer.step()
        for left, right in zip(ours, theirs, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6 * scale)


def solo_step(weight: Tensor, gradient: Tensor, velocity: Tensor, *, rate: float, decay: float) -> None:
    """Move a weight by solo-learn's formula with ``clip_lars_lr``, eta 0.02 and momentum 0.9."""
    norm = weight.norm()
    local = min(0.02 * norm / (gradient.norm() + norm * decay + 1e-8) / rate, torch.tensor(1.0))
    velocity.mul_(0.9).add_(local * (gradient + decay * weight))
    weight.sub_(rate * velocity)


@given(
    st.integers(0, 99),
    st.sampled_from([0.003, 0.1, 3.0]),
    st.sampled_from([0.001, 0.1, 10.0]),
    st.sampled_from([(1e-4, 1.0), (0.0, 1e-10)]),
)
@settings(max_examples=20)
def test_clipped_it_is_solo_learns_formula(
    seed: int, scale: float, rate: float, decay_and_slope: tuple[float, float]
) -> None:
    decay, slope = decay_and_slope  # without decay, gradients below epsilon
    weights = [weight for weight in drawn(seed, scale) if weight.ndim > 1]
    expected = [weight.detach().double() for weight in weights]
    velocities = [torch.zeros_like(weight) for weight in expected]
    optimizer = LARS(groups(weights, decay), learning_rate=rate, momentum=0.9, trust=0.02, clip=True)
    for step in range(4):
        give_gradients(weights, step)
        for weight, clean, velocity in zip(weights, expected, velocities, strict=True):
            assert weight.grad is not None
            weight.grad *= slope
            solo_step(clean, weight.grad.double(), velocity, rate=rate, decay=decay)
        optimizer.step()
        for weight, clean in zip(weights, expected, strict=True):
            torch.testing.assert_close(weight.double(), clean, rtol=1e-4, atol=1e-5 * scale)


def relative_step(density: float, hidden: float) -> float:
    """Return how far one step moves the acting entries of a weight, relative to their norm."""
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn((64, 64), generator=generator))
    mask = (torch.rand((64, 64), generator=generator) < density).float()
    with torch.no_grad():
        weight.mul_(mask + hidden * (1 - mask))
    weight.grad = torch.randn((64, 64), generator=generator) * mask
    before = (weight * mask).detach().clone()

    def acting() -> Mapping[nn.Parameter, Tensor]:
        return {weight: mask}

    LARS(groups([weight], 0.0), learning_rate=0.4, momentum=0.9, trust=0.02, acting=acting).step()
    return float(((weight * mask - before).norm() / before.norm()).detach())


@pytest.mark.parametrize("density", [1.0, 0.5, 0.1, 0.01])
@pytest.mark.parametrize("hidden", [0.0, 1.0, 5.0])
def test_the_relative_step_of_what_acts_depends_neither_on_density_nor_on_hidden_latents(
    density: float, hidden: float
) -> None:
    assert relative_step(density, hidden) == pytest.approx(0.4 * 0.02, rel=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_a_latent_acts_as_long_as_a_branch_that_moves_it_keeps_it(tied: bool) -> None:  # noqa: FBT001
    pair: Branches = branches(tied=tied)
    acting = ActingMasks(pair)
    assert acting() == {}
    masks = masking.read(pair.online)
    first, second = (copy.deepcopy(masks) for _ in range(2))
    for name, mask in masks.items():
        first[name].view(-1)[: mask.numel() // 2] = 0
        second[name].view(-1)[mask.numel() // 4 :] = 0
    pair.write(first, target=second)
    found, latents = acting(), masking.latent(pair.online)
    for name, latent in latents.items():
        expected = torch.maximum(first[name], second[name]) if tied else first[name]
        assert torch.equal(found[latent], expected)
    assert acting() is found  # read once
    pair.write(masks)
    assert acting() == {}
