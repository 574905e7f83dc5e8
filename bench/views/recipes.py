"""Views: what each framework does to an image before it is compared with another view of it.

Two pipelines. ``lightly`` calls Lightly's own transforms, image by image. ``batched-v1`` (ours) does the
same to whole batches of tensors: the same operations, in the same random order, with Pillow's own rounding.
One set of parameters gives Lightly's view bit for bit; the random numbers are other ones from the same
distributions. What deviates: uniform numbers have 24 bits, so the odds of one corner of a crop, or of one
order of the jitters, are off by up to 2^-24.

Everything random is fixed by (seed, epoch, sample, view): no worker, batch, order or rank changes a view.
"""

from collections.abc import Callable
from typing import Any

from lightly.transforms import MoCoV2Transform, SimCLRTransform, SimSiamTransform, VICRegTransform
from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform

from bench.config.views import ViewSpec
from bench.errors import RunError, unknown
from bench.views.base import View, Views
from bench.views.batched import BatchedViews
from bench.views.lightly import LightlyViews
from bench.views.pixels import normalise

__all__ = ["LIGHTLY", "RECIPES", "Views", "build", "normalise"]

_SIMCLR = View(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)  # Lightly's 0.8 0.8 0.8 0.2 at strength 0.5
_BYOL = View(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
_BYOL_2 = View(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, solarise=0.2)
_SIMSIAM = View(min_scale=0.2, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
_VICREG = View(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, solarise=0.1)
# Ours, milder in colour and crop: what an encoder learns from in some hundred steps (results/pilot.md).
_SOFT = View(min_scale=0.2, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)
# Ours: digits are grey, a mirrored 2 is no 2, and of a small crop nobody can tell an 8 from a 3.
_DIGITS = View(min_scale=0.5, flip=0.0, brightness=0.4, contrast=0.4, saturation=0.0, hue=0.0, grey=0.0)
# The usual views of a linear probe trained by SGD: crop and flip alone (Lightly's benchmarks/imagenet, and the papers).
_PROBE = View(jitter=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, grey=0.0)

# At ImageNet's size views are blurred, and SimCLR's colours move twice as far; MoCo's and SimSiam's crops are larger.
_LARGE_SIMCLR = View(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, blur=0.5)
_LARGE_MOCO = View(min_scale=0.2, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur=0.5)
_LARGE_BYOL = View(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, blur=1.0)
_LARGE_BYOL_2 = View(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, blur=0.1, solarise=0.2)
_LARGE_VICREG = View(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, blur=0.5, solarise=0.1, blurs_last=True)

# Source: Lightly's cifar10_benchmark.py, which has no blur. vicreg: the transform's defaults, less its blur.
RECIPES: dict[str, tuple[View, View]] = {
    "simclr": (_SIMCLR, _SIMCLR),
    "moco": (_SIMCLR, _SIMCLR),  # as the script has it; MoCo v2's paper is milder
    "byol": (_BYOL, _BYOL_2),
    "barlow_twins": (_BYOL, _BYOL_2),
    "simsiam": (_SIMSIAM, _SIMSIAM),
    "vicreg": (_VICREG, _VICREG),
    "supervised": (_PROBE, _PROBE),  # crop and flip alone
    "soft": (_SOFT, _SOFT),
    "digits": (_DIGITS, _DIGITS),
    "probe": (_PROBE, _PROBE),
    # Source: the papers, as Lightly's transforms have them by default: Chen et al. 2020 (SimCLR), appendix A; Chen et
    # al. 2020 (MoCo v2), table 1; Grill et al. 2020 (BYOL), appendix B, and Zbontar et al. 2021 (Barlow Twins), section
    # 3; Chen and He 2021 (SimSiam), appendix A; Bardes et al. 2022 (VICReg), appendix C.1.
    "simclr-imagenet": (_LARGE_SIMCLR, _LARGE_SIMCLR),
    "moco-imagenet": (_LARGE_MOCO, _LARGE_MOCO),
    "byol-imagenet": (_LARGE_BYOL, _LARGE_BYOL_2),
    "barlow_twins-imagenet": (_LARGE_BYOL, _LARGE_BYOL_2),
    "simsiam-imagenet": (_LARGE_MOCO, _LARGE_MOCO),
    "vicreg-imagenet": (_LARGE_VICREG, _LARGE_VICREG),
    "supervised-imagenet": (_PROBE, _PROBE),
}


def _byol(size: int) -> Any:
    return BYOLTransform(
        BYOLView1Transform(input_size=size, gaussian_blur=0.0),
        BYOLView2Transform(input_size=size, gaussian_blur=0.0),
    )


def _large_byol(size: int) -> Any:
    return BYOLTransform(BYOLView1Transform(input_size=size), BYOLView2Transform(input_size=size))


def _probe(size: int) -> Any:
    return SimCLRTransform(input_size=size, cj_prob=0.0, random_gray_scale=0.0, gaussian_blur=0.0)


def _simclr(size: int) -> Any:
    return SimCLRTransform(input_size=size, cj_strength=0.5, gaussian_blur=0.0)


def _soft(size: int) -> Any:
    return SimCLRTransform(
        input_size=size,
        cj_bright=_SOFT.brightness,
        cj_contrast=_SOFT.contrast,
        cj_sat=_SOFT.saturation,
        cj_hue=_SOFT.hue,
        min_scale=_SOFT.min_scale,
        gaussian_blur=0.0,
    )


def _digits(size: int) -> Any:
    return SimCLRTransform(
        input_size=size,
        cj_bright=_DIGITS.brightness,
        cj_contrast=_DIGITS.contrast,
        cj_sat=_DIGITS.saturation,
        cj_hue=_DIGITS.hue,
        min_scale=_DIGITS.min_scale,
        random_gray_scale=_DIGITS.grey,
        gaussian_blur=0.0,
        hf_prob=_DIGITS.flip,
    )


LIGHTLY: dict[str, Callable[[int], Any]] = {  # of the views' size
    "simclr": _simclr,
    "moco": _simclr,
    "byol": _byol,
    "barlow_twins": _byol,
    "simsiam": lambda size: SimSiamTransform(input_size=size, gaussian_blur=0.0),
    "vicreg": lambda size: VICRegTransform(input_size=size, gaussian_blur=0.0),
    "supervised": _probe,
    "soft": _soft,
    "digits": _digits,
    "probe": _probe,
    "simclr-imagenet": lambda size: SimCLRTransform(input_size=size),
    "moco-imagenet": lambda size: MoCoV2Transform(input_size=size),
    "byol-imagenet": _large_byol,
    "barlow_twins-imagenet": _large_byol,
    "simsiam-imagenet": lambda size: SimSiamTransform(input_size=size),
    "vicreg-imagenet": lambda size: VICRegTransform(input_size=size),
    "supervised-imagenet": _probe,
}


def _batched(recipe: str, *, seed: int, images: int, side: int, size: int) -> Views:
    return BatchedViews(RECIPES[recipe], seed=seed, images=images, side=side, size=size)


def _lightly(recipe: str, *, seed: int, images: int, side: int, size: int) -> Views:  # noqa: ARG001 - one signature
    return LightlyViews(LIGHTLY[recipe](size or side), seed=seed)


PIPELINES: dict[str, Callable[..., Views]] = {"batched-v1": _batched, "lightly": _lightly}


def build(spec: ViewSpec, *, seed: int, images: int, side: int, size: int = 0) -> Views:
    """Return the views of a run.

    Args:
        spec: pipeline and recipe.
        seed: of the run.
        images: how many the train split has.
        side: of these images, in pixels.
        size: of the views; that of the images unless given.

    Raises:
        RunError: no such recipe.
    """
    if spec.recipe not in RECIPES:
        raise RunError(unknown("setting views.recipe:", spec.recipe, RECIPES))
    return PIPELINES[spec.pipeline](spec.recipe, seed=seed, images=images, side=side, size=size)
