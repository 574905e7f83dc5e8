"""Strategies and small subjects that several test files share."""

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import torch
from hypothesis import strategies as st
from lightly.models import ResNetGenerator
from lightly.models.utils import update_momentum
from torch import Tensor, nn
from torch.optim import Optimizer

from methods import GATES, METHODS, macs, masking
from methods.branches import Branches
from methods.granularity import parse
from methods.masking import Masks
from methods.method import SparseMethod
from methods.setting import Setting
from methods.works import WORKS

IMAGE = (3, 8, 8)
DENSITIES = {"-": 1.0, "2:4": 0.5, "1:4": 0.25, "block4x4": 0.25}  # of shapes that do not have any
POINTS = ((1.0, -0.9), (0.5, 0.5))  # (density, gap) of methods that are about one branch: a dense one stands beside it
TIED_ALONE = frozenset({"unified_gate"})  # gates that refuse a target which does not learn
GATE_PAIRS = [(name, tied) for name in GATES for tied in (True, False) if tied or name not in TIED_ALONE]
FIXED = ("dense", "dense_narrow", "dense_small_images", "static_erk", "static_uniform")  # masks that are written once
_COUNT, _COUNTED = macs.inference_macs, dict[tuple[object, ...], dict[str, int]]()


def resnet_branches(*, tied: bool) -> Branches:
    """Return a ResNet-9 of width 1/8 with masks of ones, always the same, and its twin or an EMA copy of it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        online = ResNetGenerator("resnet-9", width=0.125)
    online.linear = nn.Identity()
    masking.install(online)
    target = masking.twin(online, own_statistics=False) if tied else copy.deepcopy(online).requires_grad_(False)
    return Branches(online, target, tied)


@contextlib.contextmanager
def counted_once() -> Iterator[None]:
    """Count the MACs of each kind of encoder once in this process: that costs as much as a step; a run asks thrice."""

    def remembered(encoder: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, int]:
        key = repr(encoder), tuple(each.shape for each in encoder.parameters()), image_shape
        if key not in _COUNTED:
            _COUNTED[key] = _COUNT(encoder, image_shape)
        return dict(_COUNTED[key])

    with patch.object(macs, "inference_macs", remembered):
        yield


def has_gap(method: str) -> bool:
    """Whether a method of the registry writes two masks."""
    setting = setting_of(method)
    return bool(setting.gap) or _accepts(method, dataclasses.replace(setting, gap=0.1))


@functools.cache
def takes(method: str, *, tied: bool) -> bool:
    """Whether a method of the registry takes a target that shares the weights, or one that is an average.

    All are attached to one pair, one behind the other: whether a method refuses it depends on its kind alone, and a
    pair of its own for each would cost every process that imports these tests a second.
    """
    try:
        METHODS[method](setting_of(method)).attach(_tried(tied=tied), 20)
    except ValueError:
        return False
    return True


@functools.cache
def _tried(*, tied: bool) -> Branches:
    return branches(tied=tied)


def keeps_exact_counts(method: str) -> bool:
    """Whether a method of the registry keeps as much as it is asked to: not what was published, nor whole channels."""
    return not method.endswith("_as_published") and method != "dense_narrow"


def shapes_of(method: str) -> str:
    """A granularity that a method of the registry prunes."""
    return WORKS[method].shapes[0] if method in WORKS else "element"


def setting_of(
    method: str, shapes: str = "", /, *, density: float = 0.1, gap: float = 0.0, **changes: float
) -> Setting:
    """A setting that the method takes: what is asked for, at the density of its shapes, or one of the other points."""
    shapes = shapes or shapes_of(method)
    asked = Setting(
        density=DENSITIES.get(shapes, density),
        gap=gap,
        seed=7,
        granularity=parse(shapes),
        **changes,
    )
    if not asked.granularity.is_whole:
        return asked
    others = [dataclasses.replace(asked, density=kept, gap=apart) for kept, apart in POINTS]
    return next((setting for setting in (asked, *others) if _accepts(method, setting)), asked)


def _accepts(method: str, setting: Setting) -> bool:
    try:
        METHODS[method](setting)
    except ValueError:
        return False
    return True


def convolutions(*, inputs: int, outputs: int) -> st.SearchStrategy[dict[str, Any]]:
    """Return arguments of ``Conv2d`` of one group, of up to so many channels."""
    return st.fixed_dictionaries(
        {
            "in_channels": st.integers(1, inputs),
            "out_channels": st.integers(1, outputs),
            "kernel_size": st.tuples(st.integers(1, 3), st.integers(1, 3)),
            "stride": st.integers(1, 2),
            "padding": st.tuples(st.integers(0, 2), st.integers(0, 2)),
            "dilation": st.integers(1, 2),
            "bias": st.booleans(),
        }
    )


def tiny_encoder(seed: int = 0) -> nn.Module:
    """Stem, then one prunable convolution of each kind: strided with bias, grouped, pointwise."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, (1, 3), padding=(0, 1), groups=2, bias=False),
            nn.Conv2d(8, 12, 1, bias=False),
            nn.BatchNorm2d(12),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


PRUNABLE = ("3", "6", "7")
SIZES = {"3": 8 * 4 * 9, "6": 8 * 4 * 3, "7": 12 * 8}


def masked_encoder(seed: int = 0) -> nn.Module:
    encoder = tiny_encoder(seed)
    masking.install(encoder)
    return encoder


def branches(*, tied: bool, seed: int = 0) -> Branches:
    online = masked_encoder(seed)
    target = masking.twin(online, own_statistics=False) if tied else copy.deepcopy(online)
    return Branches(online, target, tied)


def random_masks(encoder: nn.Module, density: float, generator: torch.Generator) -> Masks:
    """Every entry by chance, and at least one per layer."""
    masks = {}
    for name, mask in masking.read(encoder).items():
        drawn = (torch.rand(mask.shape, generator=generator) < density).float()
        drawn.view(-1)[0] = 1.0
        masks[name] = drawn
    return masks


def images(generator: torch.Generator, count: int = 6) -> Tensor:
    return torch.randn(count, *IMAGE, generator=generator)


def loss_of(pair: Branches, views: Tensor) -> Tensor:
    """A stand-in for a contrastive loss: online on one half of the views, target on the other."""
    first, second = views.chunk(2)
    online = pair.online(first)
    if pair.tied:
        target = pair.target(second)
    else:
        with torch.no_grad():
            target = pair.target(second)
    distance: Tensor = (online - target).square().mean() + 0.1 * online.square().mean()
    return distance


def train(
    method: SparseMethod,
    pair: Branches,
    optimizer: Optimizer,
    *,
    steps: range,
    accumulate: int = 1,
    data_seed: int = 0,
) -> Iterator[int]:
    """The order of moments of one optimizer step; yields after each. Data depend on seed and step alone."""
    for step in steps:
        generator = torch.Generator().manual_seed(10_000 * data_seed + step)
        method.before_forward(step)
        for views in images(generator, 8 * accumulate).chunk(accumulate):
            loss = loss_of(pair, views) / accumulate + method.penalty()
            loss.backward()
        if method.on_gradient(step, optimizer):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if not pair.tied:
            update_momentum(pair.online, pair.target, 0.9)
        method.on_step(step)
        yield step


def effective_weights(encoder: nn.Module) -> dict[str, Tensor]:
    """What each masked layer multiplies with."""
    weights = {}
    for name in masking.read(encoder):
        weight = encoder.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        weights[name] = weight.detach()
    return weights


def shapes(max_side: int = 5) -> st.SearchStrategy[tuple[int, ...]]:
    """Weight shapes of two to four dimensions, one-element ones included."""
    return st.lists(st.integers(1, max_side), min_size=2, max_size=4).map(tuple)


@st.composite
def scores(draw: st.DrawFn, *, distinct: bool = False) -> Tensor:
    """Scores that float32, float64 and bfloat16 all represent exactly; with many ties unless ``distinct``."""
    shape = torch.Size(draw(shapes()))
    if distinct:
        values = draw(st.permutations(range(shape.numel())))
    else:
        top = draw(st.sampled_from([0, 1, 3, 100]))
        values = draw(st.lists(st.integers(0, top), min_size=shape.numel(), max_size=shape.numel()))
    return torch.tensor(values, dtype=torch.float32).reshape(shape)


def densities() -> st.SearchStrategy[float]:
    """Densities in (0, 1], the ends and the papers' values included."""
    return st.one_of(st.sampled_from([0.02, 0.05, 0.1, 0.2, 0.5, 1.0]), st.floats(0.001, 1.0))
