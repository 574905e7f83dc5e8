"""Views on a GPU: whether they are the CPU's bit for bit, and how many are made in a second, there and by others."""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2

from bench.views import recipes
from bench.views.base import View
from bench.views.batched import BatchedViews
from bench.views.lightly import LightlyViews
from bench.views.pixels import MEAN, STD

_COMPARED = 64  # images
_SIZES = (("simclr", 32, 32), ("simclr-imagenet", 256, 224))  # recipe, side of the images, of the views
_LEAST_SECONDS = 1.0  # that a rate is measured over


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How a device's views differ from the CPU's for the same parameters.

    Attributes:
        recipe: of the views.
        size: their side in pixels.
        values: how many were compared.
        apart: how many differ.
        most: by how much at most, normalised.
    """

    recipe: str
    size: int
    values: int
    apart: int
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many views are made in a second.

    Attributes:
        who: makes them, and where.
        size: their side in pixels.
        a_second: views.
    """

    who: str
    size: int
    a_second: float


def differences(device: torch.device, images: int = _COMPARED) -> list[Difference]:
    """Compare the views of every recipe on a device with the CPU's.

    Args:
        device: where.
        images: of a recipe of small images; of large ones an eighth.
    """
    found = []
    for recipe, pair in recipes.RECIPES.items():
        is_large = recipe.endswith("-imagenet")
        side, size, count = (256, 224, max(1, images // 8)) if is_large else (32, 32, images)
        pictures, samples = _pictures(count, side), torch.arange(count)
        maker = BatchedViews(pair, seed=0, images=count, side=side, size=size)
        here, there = maker.views(pictures, samples, 0), maker.views(pictures.to(device), samples, 0)
        gaps = torch.stack([(one - other.cpu()).abs() for one, other in zip(here, there, strict=True)])
        apart, most = int((gaps > 0).sum()), float(gaps.max())
        found.append(Difference(recipe=recipe, size=size, values=gaps.numel(), apart=apart, most=most))
    return found


def rates(device: torch.device, *, images: int = 512, least_seconds: float = _LEAST_SECONDS) -> list[Rate]:
    """Measure how many views are made in a second: ours on a device and on a core, Lightly's and torchvision's on one.

    Args:
        device: where ours are made; nothing is measured twice where that is the CPU.
        images: of a batch of small ones; of large ones, and of those that are made one by one, an eighth.
        least_seconds: that each is measured for.
    """
    found = []
    for recipe, side, size in _SIZES:
        for maker in _makers(recipe, side, size, images, device):
            some, samples = _pictures(maker.images, side).to(maker.device), torch.arange(maker.images)
            seconds = _seconds(functools.partial(maker.make, some, samples), maker.device, least_seconds)
            found.append(Rate(who=maker.who, size=size, a_second=2 * maker.images / seconds))
    return found


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes both views of images ``[B, 3, P, P]``, of which the train split has ``images``, on a device."""

    who: str
    make: Callable[[Tensor, Tensor], object]
    images: int
    device: torch.device


def _makers(recipe: str, side: int, size: int, images: int, device: torch.device) -> list[_Maker]:
    pair, fewer, cpu = recipes.RECIPES[recipe], max(1, images // 8), torch.device("cpu")
    most = images if side == 32 else fewer
    ours = BatchedViews(pair, seed=0, images=most, side=side, size=size)
    lightlys = LightlyViews(recipes.LIGHTLY[recipe](size), seed=0)
    theirs = torchvisions(pair[0], size)
    by = ours.maker(cpu).partition(" (")[0]
    places = {device: "the GPU", cpu: f"{by}, one core"}  # where the device is the CPU, one place
    return [
        *(
            _Maker(f"batched-v1, {name}", lambda some, which: ours.views(some, which, 0), most, place)
            for place, name in places.items()
        ),
        _Maker("Lightly's own, one core", lambda some, which: lightlys.views(some, which, 0), fewer, cpu),
        _Maker("torchvision v2, one core", lambda some, _: [theirs(one) for one in some for _ in range(2)], fewer, cpu),
    ]


def torchvisions(view: View, size: int) -> Callable[[Tensor], Tensor]:
    """Return a view's recipe in torchvision's transforms of tensors, of the second version, for one image of bytes."""
    jitter = v2.ColorJitter(view.brightness, view.contrast, view.saturation, view.hue)
    steps = [
        v2.RandomResizedCrop(size, scale=(view.min_scale, 1.0), antialias=True),
        v2.RandomHorizontalFlip(view.flip),
        v2.RandomApply([jitter], view.jitter),
        v2.RandomGrayscale(view.grey),
    ]
    if view.blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(2 * round(0.05 * size) + 1, view.sigmas)], view.blur))
    chain: Callable[[Tensor], Tensor] = v2.Compose(
        [*steps, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )
    return chain


def lines(found: Sequence[Difference], measured: Sequence[Rate]) -> list[str]:
    """Return what was found as Markdown."""
    apart, values = [each for each in found if each.apart], sum(each.values for each in found)
    differing = sum(each.apart for each in found)
    compared = f"**Views.** Of {values:,} values of {len(found)} recipes, {differing:,} differ from the CPU's"
    said = [f"{compared} for the same parameters."]
    said += [
        f"- {each.recipe}, {each.size} pixels: {each.apart:,} of {each.values:,}, by up to {each.most:.3g}"
        for each in apart
    ]
    said += ["", "| views | pixels | a second |", "|---|---:|---:|"]
    return said + [f"| {each.who} | {each.size} | {each.a_second:,.0f} |" for each in measured]


def waited(device: torch.device) -> None:
    """Return once a device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def _seconds(make: Callable[[], object], device: torch.device, least: float) -> float:
    """Return the seconds of one call, the mean over so many seconds; the first call is not timed.

    Of a core's work CPU seconds count, which other work on the machine disturbs less.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    make()
    waited(device)
    began, calls = clock(), 0
    while calls == 0 or clock() - began < least:
        make()
        waited(device)
        calls += 1
    return (clock() - began) / calls


def _pictures(count: int, side: int) -> Tensor:
    """Return smooth colourful pictures with grain, bytes ``[count, 3, side, side]``."""
    generator = torch.Generator().manual_seed(side)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear", align_corners=True)
    grain = torch.rand(count, 3, side, side, generator=generator) * 0.2
    return ((fine + grain - 0.1) * 255).clamp(0, 255).to(torch.uint8)
