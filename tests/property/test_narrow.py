"""The narrow control is a dense encoder of fewer channels: nothing reads what is left out."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightly.models import ResNetGenerator
from torch import nn

from methods import METHODS, masking
from methods.branches import Branches
from methods.macs import macs_ratio
from methods.pruning.narrow import narrowed
from methods.setting import Setting
from tests.strategies import SIZES, branches

SHAPES = {"a": torch.Size((16, 8, 3, 3)), "b": torch.Size((32, 16, 1, 1)), "c": torch.Size((12, 32, 3, 3))}


def shares_by_brute_force() -> list[float]:
    """Every share at which a layer gains a channel."""
    return sorted({kept / size for shape in SHAPES.values() for size in shape[:2] for kept in range(1, size + 1)})


@given(st.floats(0.005, 1.0))
def test_the_first_channels_stay_and_come_as_near_to_the_density_as_whole_channels_can(density: float) -> None:
    like = {name: torch.empty(shape) for name, shape in SHAPES.items()}
    total = sum(shape.numel() for shape in SHAPES.values())
    masks = narrowed(SHAPES, density, like=like)
    found = sum(int(mask.sum()) for mask in masks.values())
    reachable = [
        sum(
            max(1, round(share * shape[0] + 1e-9)) * max(1, round(share * shape[1] + 1e-9)) * shape[2:].numel()
            for shape in SHAPES.values()
        )
        for share in shares_by_brute_force()
    ]
    assert abs(found - density * total) <= min(abs(each - density * total) for each in reachable) + 1.0
    for mask in masks.values():
        rows, columns = (int(mask.amax(tuple(set(range(4)) - {axis})).sum()) for axis in (0, 1))
        assert bool(mask[:rows, :columns].all())
        assert int(mask.sum()) == rows * columns * mask[0, 0].numel()


def test_density_one_keeps_everything() -> None:
    pair = branches(tied=True)
    METHODS["dense_narrow"](Setting(density=1.0, seed=0)).attach(pair, 20)
    assert masking.counts(pair.online) == SIZES


@pytest.mark.parametrize("density", [0.1, 0.25])
def test_channels_that_are_left_out_change_no_feature_but_are_constants(density: float) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        online = ResNetGenerator("resnet-9", width=0.25)
    online.linear = nn.Identity()
    masking.install(online)
    pair = Branches(online, masking.twin(online, own_statistics=False), tied=True)
    METHODS["dense_narrow"](Setting(density=density, seed=0)).attach(pair, 20)
    generator = torch.Generator().manual_seed(1)
    features = online.eval()(torch.randn(4, 3, 32, 32, generator=generator))
    moving = (features.std(0) > 1e-6).sum()
    last = list(masking.read(online).values())[-1]
    assert 0 < int(moving) <= int(last.amax((1, 2, 3)).sum())
    with torch.no_grad():  # latents off the mask are nobody's
        for name, latent in masking.latent(online).items():
            latent[masking.read(online)[name] == 0] = 9.0
    again = online(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(features, again)
    assert macs_ratio(online, (3, 32, 32)) == pytest.approx(density, abs=0.06)


def test_layers_agree_on_the_channels_between_them() -> None:
    """What one layer writes the next one reads: the same number of first channels."""
    like = {name: torch.empty(shape) for name, shape in SHAPES.items()}
    masks = list(narrowed(SHAPES, 0.3, like=like).values())
    for before, after in itertools.pairwise(masks):
        assert int(before.amax((1, 2, 3)).sum()) == int(after.amax((0, 2, 3)).sum())
