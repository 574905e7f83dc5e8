"""Views: what each framework does to a picture before it is compared with another view of it.

Two pipelines. ``lightly`` calls Lightly's own transforms, picture by picture. ``batched-v1`` (ours) does the same to a
whole batch of tensors: the same operations in the same random order with Pillow's own rounding (``pillow_ops``), so
that one set of parameters gives Lightly's view bit for bit. Only the random numbers are others. Known deviations:
uniform numbers have 24 bits, and of the integer draws (corner of a crop, order of the jitters) values can differ in
probability by 2^-24.

Every random number of an epoch is fixed by (seed, epoch, sample, view). No worker, batch, order or rank changes a view.
"""

import abc
import contextlib
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightly.transforms import SimCLRTransform, SimSiamTransform, VICRegTransform
from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform
from PIL import Image
from torch import Tensor

from bench import pillow_ops
from bench.config import ViewSpec
from bench.pictures import SIZE

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet: Lightly's default, on CIFAR too
MAX_VIEWS_AT_ONCE = 512  # more would leave the caches; changes no bit


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How one view is made. Probabilities and strengths; an operation of strength 0 is left out.

    Attributes:
        min_scale: least share of the picture's area that a crop keeps.
        flip: probability of mirroring left to right.
        jitter: probability of the four jitters, which then come in random order.
        brightness: factor in 1 +- this.
        contrast: factor in 1 +- this.
        saturation: factor in 1 +- this.
        hue: turn in +- this, in circles.
        grey: probability of losing the colour.
        solarise: probability of inverting the bright half.
    """

    min_scale: float = 0.08
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey: float = 0.2
    solarise: float = 0.0


_SIMCLR = View(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)  # Lightly's 0.8 0.8 0.8 0.2 at strength 0.5
_BYOL = View(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
_BYOL_2 = View(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, solarise=0.2)
_SIMSIAM = View(min_scale=0.2, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
_VICREG = View(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, solarise=0.1)
# Ours: digits are grey, a mirrored 2 is no 2, and of a small crop nobody can tell an 8 from a 3.
_DIGITS = View(min_scale=0.5, flip=0.0, brightness=0.4, contrast=0.4, saturation=0.0, hue=0.0, grey=0.0)

# Source: Lightly's benchmarks/cifar10_benchmark.py (simclr to simsiam; without blur), else the transform's defaults.
RECIPES: dict[str, tuple[View, View]] = {
    "simclr": (_SIMCLR, _SIMCLR),
    "moco": (_SIMCLR, _SIMCLR),  # as the script has it; MoCo v2's paper is milder
    "byol": (_BYOL, _BYOL_2),
    "barlow_twins": (_BYOL, _BYOL_2),
    "simsiam": (_SIMSIAM, _SIMSIAM),
    "vicreg": (_VICREG, _VICREG),
    "digits": (_DIGITS, _DIGITS),
}


def _byol() -> Any:
    return BYOLTransform(
        BYOLView1Transform(input_size=SIZE, gaussian_blur=0.0),
        BYOLView2Transform(input_size=SIZE, gaussian_blur=0.0),
    )


def _simclr() -> Any:
    return SimCLRTransform(input_size=SIZE, cj_strength=0.5, gaussian_blur=0.0)


LIGHTLY: dict[str, Callable[[], Any]] = {
    "simclr": _simclr,
    "moco": _simclr,
    "byol": _byol,
    "barlow_twins": _byol,
    "simsiam": lambda: SimSiamTransform(input_size=SIZE, gaussian_blur=0.0),
    "vicreg": lambda: VICRegTransform(input_size=SIZE, gaussian_blur=0.0),
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
}


class Views(abc.ABC):
    """Makes the two views of a batch."""

    @abc.abstractmethod
    def views(self, images: Tensor, samples: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return both views, normalised float32 ``[B, 3, 32, 32]`` in channels-last memory, on the images' device.

        Args:
            images: ``[B, 3, 32, 32]`` bytes.
            samples: ``[B]`` the images' places in the train split, on the CPU.
            epoch: from 0.
        """


def build(spec: ViewSpec, *, seed: int, images: int) -> Views:
    """Return the views of a run.

    Args:
        spec: pipeline and recipe.
        seed: of the run.
        images: how many the train split has.

    Raises:
        ValueError: no such recipe.
    """
    if spec.recipe not in RECIPES:
        raise ValueError(f"view recipe {spec.recipe!r} is unknown. Choose from {', '.join(RECIPES)}.")
    if spec.pipeline == "lightly":
        return LightlyViews(LIGHTLY[spec.recipe](), seed=seed)
    return BatchedViews(RECIPES[spec.recipe], seed=seed, images=images)


def normalise(images: Tensor) -> Tensor:
    """Return bytes ``[N, 3, 32, 32]`` as normalised float32 in channels-last memory, with nothing random done to them."""
    planes = images.permute(1, 0, 2, 3).float()
    return _normalised(planes.reshape(3, len(images), pillow_ops.PIXELS))


def _normalised(planes: Tensor) -> Tensor:
    """Scale planes ``[3, N, 1024]`` in place, in Lightly's order of operations, and return ``[N, 3, 32, 32]``."""
    mean, std = (torch.tensor(three, device=planes.device)[:, None, None] for three in (MEAN, STD))
    planes.div_(255).sub_(mean).div_(std)
    return planes.permute(1, 2, 0).contiguous().view(-1, SIZE, SIZE, 3).permute(0, 3, 1, 2)


# --- ours -------------------------------------------------------------------------------------------------------------

_ATTEMPTS = 10  # RandomResizedCrop gives up after so many boxes that do not fit, and takes the whole picture
_DRAWS = 2 * _ATTEMPTS + 11
_NO_JITTER = 4  # the hue slot of a view without jitter
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)
_ORDERS = torch.tensor(list(itertools.permutations(range(4))))  # [24, 4]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is done to each of N views: float32 ``[N]``, or ``[N, 3]`` for the three jitters that are not the hue.

    Attributes:
        left: of the crop.
        width: of the crop.
        top: of the crop.
        height: of the crop.
        flip: 1 or 0.
        hue_slot: how many of the other jitters come before the hue; 4: no jitter at all.
        hue_shift: 0 to 255.
        kinds: brightness 0, contrast 1, saturation 2, in the order in which they come.
        factors: in the same order.
        grey: 1 or 0.
        solarise: 1 or 0.
    """

    left: Tensor
    width: Tensor
    top: Tensor
    height: Tensor
    flip: Tensor
    hue_slot: Tensor
    hue_shift: Tensor
    kinds: Tensor
    factors: Tensor
    grey: Tensor
    solarise: Tensor

    def at(self, rows: Tensor) -> "Parameters":
        """Return the parameters of some views, in the order of ``rows``."""
        return Parameters(*(getattr(self, name)[rows] for name in self.__slots__))

    def to(self, device: torch.device) -> "Parameters":
        """Return the same on another device."""
        return Parameters(*(getattr(self, name).to(device) for name in self.__slots__))


def parameters(view: View, draws: Tensor) -> Parameters:
    """Turn uniform numbers ``[N, 31]`` in [0, 1) into what is done, with torchvision's distributions.

    Source: torchvision ``v2.RandomResizedCrop`` (rejection, corner uniform over all places), ``v2.ColorJitter``,
    ``RandomApply``, ``RandomGrayscale``, ``RandomHorizontalFlip``; Lightly ``RandomSolarization``.
    """
    areas, ratios = draws[:, :_ATTEMPTS], draws[:, _ATTEMPTS : 2 * _ATTEMPTS]
    top, left, flip, jitter, order, brightness, contrast, saturation, hue, grey, solarise = draws[
        :, 2 * _ATTEMPTS :
    ].unbind(1)

    area = SIZE * SIZE * (view.min_scale + (1 - view.min_scale) * areas)
    aspect = torch.exp(math.log(4 / 3) * (2 * ratios - 1))
    widths, heights = (area * aspect).sqrt_().round_(), (area / aspect).sqrt_().round_()
    fits = (widths > 0) & (widths <= SIZE) & (heights > 0) & (heights <= SIZE)
    chosen = fits.int().argmax(1, keepdim=True)  # the first that fits
    none_fits = ~fits.any(1)
    width = widths.gather(1, chosen)[:, 0].masked_fill_(none_fits, SIZE)
    height = heights.gather(1, chosen)[:, 0].masked_fill_(none_fits, SIZE)

    orders = _ORDERS[(order * len(_ORDERS)).long()]  # [N, 4]
    kinds = orders[orders != _HUE].view(-1, 3)
    is_jittered = jitter < view.jitter
    strengths = torch.tensor([view.brightness, view.contrast, view.saturation])
    lowest = (1 - strengths).clamp(min=0)
    factors = lowest + (1 + strengths - lowest) * torch.stack([brightness, contrast, saturation], 1)
    turn = ((2 * hue - 1) * view.hue * 255).trunc_()  # towards 0, as torchvision does
    hue_slot = (orders == _HUE).int().argmax(1).masked_fill_(~is_jittered, _NO_JITTER)
    return Parameters(
        left=(left * (SIZE - width + 1)).floor_(),
        width=width,
        top=(top * (SIZE - height + 1)).floor_(),
        height=height,
        flip=(flip < view.flip).float(),
        hue_slot=hue_slot.float(),
        hue_shift=turn.remainder_(256),
        kinds=kinds.float(),
        factors=factors.gather(1, kinds),
        grey=(grey < view.grey).float(),
        solarise=(solarise < view.solarise).float(),
    )


def made(images: Tensor, which: Parameters, *, with_hue: bool) -> Tensor:
    """Return views ``[N, 3, 32, 32]`` of as many images, normalised.

    Views are handled in the order of their hue slot, so that each group is one contiguous run.

    Args:
        images: ``[N, 3, 32, 32]`` bytes.
        which: what is done, on the same device.
        with_hue: ``False`` leaves the hue alone, as torchvision does at strength 0 (a turn by 0 rounds).
    """
    order = torch.argsort(which.hue_slot, stable=True)
    which = which.at(order)
    bounds = torch.searchsorted(which.hue_slot, torch.arange(1.0, 5.0, device=images.device)).tolist()
    planes = pillow_ops.resampled(
        images[order],
        pillow_ops.tent(which.left, which.width, which.flip),
        pillow_ops.tent(which.top, which.height, torch.zeros_like(which.flip)),
    )
    jittered = bounds[-1]
    start = 0
    for slot, stop in enumerate(bounds):
        if with_hue and stop > start:
            pillow_ops.turn_hue(planes[:, start:stop], which.hue_shift[start:stop, None])
        start = stop
        if slot < len(bounds) - 1 and jittered:
            _blend(planes[:, :jittered], which.kinds[:jittered, slot, None], which.factors[:jittered, slot, None])
    rows = which.grey.nonzero()[:, 0]
    planes[:, rows] = pillow_ops.grey(planes[:, rows])
    rows = which.solarise.nonzero()[:, 0]
    planes[:, rows] = pillow_ops.solarised(planes[:, rows])
    return _normalised(planes)[torch.argsort(order)].contiguous(memory_format=torch.channels_last)


def _blend(planes: Tensor, kinds: Tensor, factors: Tensor) -> None:
    """Brightness, contrast or saturation: away from black, from the mean grey, or from the pixel's grey."""
    greys = pillow_ops.grey(planes)
    means = greys.sum(1, keepdim=True).mul_(1 / pillow_ops.PIXELS).add_(0.5).floor_()
    against = greys.mul_(kinds == _SATURATION).add_(means.mul_(kinds == _CONTRAST))
    pillow_ops.blend(planes, against, factors)


class BatchedViews(Views):
    """Views of whole batches, from one table of parameters an epoch, indexed by (sample, view)."""

    def __init__(self, recipe: tuple[View, View], *, seed: int, images: int) -> None:
        self._recipe = recipe
        self._seed = seed
        self._images = images
        self._with_hue = any(view.hue for view in recipe)
        self._epoch = -1
        self._tables: list[Parameters] = []

    def views(self, images: Tensor, samples: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return both views of the batch."""
        if epoch != self._epoch:
            self._tables, self._epoch = self._drawn(epoch), epoch
        first, second = (
            torch.cat(
                [
                    made(images[start:stop], table.at(samples[start:stop]).to(images.device), with_hue=self._with_hue)
                    for start, stop in itertools.pairwise([*range(0, len(images), MAX_VIEWS_AT_ONCE), len(images)])
                ]
            )
            for table in self._tables
        )
        return first, second

    def _drawn(self, epoch: int) -> list[Parameters]:
        generator = torch.Generator().manual_seed(_hash(f"views/{self._seed}/{epoch}"))
        draws = torch.rand(self._images, 2, _DRAWS, generator=generator)
        return [parameters(view, draws[:, place]) for place, view in enumerate(self._recipe)]


# --- Lightly's --------------------------------------------------------------------------------------------------------


class LightlyViews(Views):
    """Lightly's own transforms on Pillow pictures, seeded anew for every (epoch, sample, view)."""

    def __init__(self, transform: Any, *, seed: int) -> None:
        self._transforms = transform.transforms
        self._seed = seed

    def views(self, images: Tensor, samples: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return both views of the batch. The global random state is as before afterwards."""
        pictures = [Image.fromarray(pixels) for pixels in images.permute(0, 2, 3, 1).contiguous().numpy(force=True)]
        with _global_random_state_restored():
            first, second = (
                torch.stack(
                    [
                        self._view(place, picture, epoch, sample)
                        for picture, sample in zip(pictures, samples.tolist(), strict=True)
                    ]
                )
                for place in range(2)
            )
        return tuple(  # type: ignore[return-value]
            view.to(images.device).contiguous(memory_format=torch.channels_last) for view in (first, second)
        )

    def _view(self, place: int, picture: Image.Image, epoch: int, sample: int) -> Tensor:
        seed = _hash(f"lightly/{self._seed}/{epoch}/{sample}/{place}")
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators, too
        np.random.seed(seed % 2**32)  # noqa: NPY002 - Lightly's blur and solarisation draw from the global state
        view: Tensor = self._transforms[place](picture)
        return view


@contextlib.contextmanager
def _global_random_state_restored() -> Iterator[None]:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 - as above
    try:
        yield
    finally:
        torch.set_rng_state(state)
        np.random.set_state(numpy_state)  # noqa: NPY002 - as above


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
