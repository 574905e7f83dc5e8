"""What a pair of views is, however it is made."""

import abc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How one view is made. Probabilities and strengths; an operation of strength 0 is left out.

    Attributes:
        min_scale: least share of the image's area that a crop keeps.
        flip: probability of mirroring left to right.
        jitter: probability of the four jitters, which then come in random order.
        brightness: factor in 1 +- this.
        contrast: factor in 1 +- this.
        saturation: factor in 1 +- this.
        hue: turn in +- this, in circles.
        grey: probability of losing the colour.
        solarise: probability of inverting the bright half.
        blur: probability of a Gaussian blur.
        sigmas: least and greatest standard deviation of the blur, in pixels.
        blurs_last: whether the blur comes behind the inversion.
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
    blur: float = 0.0
    sigmas: tuple[float, float] = (0.1, 2.0)
    blurs_last: bool = False


class Views(abc.ABC):
    """Makes the two views of a batch."""

    @abc.abstractmethod
    def views(self, images: Tensor, samples: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return both views, normalised float32 ``[B, 3, S, S]`` channels-last, on the images' device.

        Args:
            images: ``[B, 3, P, P]`` bytes.
            samples: ``[B]`` the images' places in the train split, on the CPU.
            epoch: from 0.
        """

    @abc.abstractmethod
    def maker(self, device: torch.device) -> str:
        """Return in words what makes the views of images on a device; which of several does changes no bit."""


class HostViews(Views):
    """Makes views on the CPU, whatever trains, and so makes them ahead."""

    @abc.abstractmethod
    def ahead(
        self, images: Tensor, batches: Iterable[tuple[int, Tensor]], workers: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the views of one batch after another. Views depend on seed, epoch and sample: workers change no bit.

        Args:
            images: ``[N, 3, P, P]`` bytes: the whole train split, on the CPU.
            batches: an epoch and ``[B]`` samples each.
            workers: processes that make views before they are asked for; 0: none.
        """
