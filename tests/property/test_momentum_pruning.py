"""Laws of our reading of momentum contrastive pruning: the projections, the penalty, and what the subnet is made of."""

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from methods import METHODS, masking
from methods.branches import Branches
from methods.granularity import Elementwise, Filter
from methods.method import SparseMethod
from methods.setting import Setting
from tests.strategies import branches, images, loss_of, train

TOTAL, START, END = 20, 6, 13
PRESSURE = 1e-3


def attached() -> tuple[SparseMethod, Branches, Optimizer]:
    method = METHODS["momentum_pruning"](Setting(density=0.5, gap=0.5, seed=7, granularity=Filter()))
    pair = branches(tied=False)
    method.attach(pair, TOTAL)
    return method, pair, SGD(pair.online.parameters(), lr=0.05, momentum=0.9)


def projected(weight: Tensor) -> Tensor:
    """Half of the filters, those with the largest norms, by sorting; the others are 0."""
    norms = [float(each.square().sum()) for each in weight]
    order = sorted(range(len(norms)), key=lambda index: (-norms[index], index))
    kept = torch.zeros(len(norms))
    kept[order[: len(norms) // 2]] = 1.0
    return weight * kept.reshape(-1, *(1 for _ in weight.shape[1:]))


def test_the_penalty_is_that_of_the_alternating_directions_written_down_again() -> None:
    method, pair, optimizer = attached()
    dual = {name: torch.zeros_like(latent) for name, latent in masking.latent(pair.online).items()}
    for step in range(END):
        latents = {name: latent.detach().clone() for name, latent in masking.latent(pair.online).items()}
        method.before_forward(step)
        found, expected = method.penalty(), 0.0
        if step >= START:
            nearest = {name: projected(latent + dual[name]) for name, latent in latents.items()}
            dual = {name: dual[name] + latent - nearest[name] for name, latent in latents.items()}
            expected = sum(
                PRESSURE / 2 * float((latent - nearest[name] + dual[name]).square().sum())
                for name, latent in latents.items()
            )
        assert float(found.detach()) == pytest.approx(expected, rel=1e-5)
        (loss_of(pair, images(torch.Generator().manual_seed(step), 8)) + found).backward()
        assert method.on_gradient(step, optimizer)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def test_the_subnet_is_the_momentum_encoder_under_its_largest_filters_and_the_target_stays_whole() -> None:
    method, pair, optimizer = attached()
    for _ in train(method, pair, optimizer, steps=range(END)):
        pass
    target = {name: latent.detach().clone() for name, latent in masking.latent(pair.target).items()}
    method.before_forward(END)
    (loss_of(pair, images(torch.Generator().manual_seed(END), 8)) + method.penalty()).backward()
    assert not method.on_gradient(END, optimizer)
    for name, mask in masking.read(pair.online).items():
        assert torch.equal(masking.latent(pair.online)[name] * mask, projected(target[name]))
        assert torch.equal(masking.latent(pair.online)[name], target[name])
    assert all(bool(mask.all()) for mask in masking.read(pair.target).values())
    assert not optimizer.state
    assert float(method.penalty()) == 0.0


@pytest.mark.parametrize(
    "setting",
    [
        Setting(density=0.5, gap=0.5, seed=0, granularity=Elementwise()),
        Setting(density=0.5, gap=0.3, seed=0, granularity=Filter()),
    ],
)
def test_other_shapes_and_a_pruned_target_are_refused(setting: Setting) -> None:
    with pytest.raises(ValueError, match=r"use 'filter' and the gap that makes the target dense, as in d0\.25\+g0\.75"):
        METHODS["momentum_pruning"](setting)


def test_a_shared_encoder_has_no_momentum_to_prune() -> None:
    method = METHODS["momentum_pruning"](Setting(density=0.5, gap=0.5, seed=0, granularity=Filter()))
    with pytest.raises(ValueError, match="has no momentum encoder to prune: use moco"):
        method.attach(branches(tied=True), TOTAL)
