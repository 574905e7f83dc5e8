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

from lightly.transforms import SimCLRTransform, SimSiamTransform, VICRegTransform
from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform

from bench.config.run import ViewSpec
from bench.errors import RunError, unknown
from bench.views.base import SIZE, View, Views
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
}


def _byol() -> Any:
    return BYOLTransform(
        BYOLView1Transform(input_size=SIZE, gaussian_blur=0.0),
        BYOLView2Transform(input_size=SIZE, gaussian_blur=0.0),
    )


def _probe() -> Any:
    return SimCLRTransform(input_size=SIZE, cj_prob=0.0, random_gray_scale=0.0, gaussian_blur=0.0)


def _simclr() -> Any:
    return SimCLRTransform(input_size=SIZE, cj_strength=0.5, gaussian_blur=0.0)


LIGHTLY: dict[str, Callable[[], Any]] = {
    "simclr": _simclr,
    "moco": _simclr,
    "byol": _byol,
    "barlow_twins": _byol,
    "simsiam": lambda: SimSiamTransform(input_size=SIZE, gaussian_blur=0.0),
    "vicreg": lambda: VICRegTransform(input_size=SIZE, gaussian_blur=0.0),
    "supervised": _probe,
    "soft": lambda: SimCLRTransform(
        input_size=SIZE,
        cj_bright=_SOFT.brightness,
        cj_contrast=_SOFT.contrast,
        cj_sat=_SOFT.saturation,
        cj_hue=_SOFT.hue,
        min_scale=_SOFT.min_scale,
        gaussian_blur=0.0,
    ),
    "digits": lambda: SimCLRTransform(
        input_size=SIZE,
        cj_bright=_DIGITS.brightness,
        cj_contrast=_DIGITS.contrast,
        cj_sat=_DIGITS.saturation,
        cj_hue=_DIGITS.hue,
        min_scale=_DIGITS.min_scale,
        random_gray_scale=_DIGITS.grey,
        gaussian_blur=0.0,
        hf_prob=_DIGITS.flip,
    ),
    "probe": _probe,
}


def build(spec: ViewSpec, *, seed: int, images: int) -> Views:
    """Return the views of a run.

    Args:
        spec: pipeline and recipe.
        seed: of the run.
        images: how many the train split has.

    Raises:
        RunError: no such recipe.
    """
    if spec.recipe not in RECIPES:
        raise RunError(unknown("setting views.recipe:", spec.recipe, RECIPES))
    if spec.pipeline == "lightly":
        return LightlyViews(LIGHTLY[spec.recipe](), seed=seed)
    return BatchedViews(RECIPES[spec.recipe], seed=seed, images=images)
