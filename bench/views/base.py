"""What a pair of views is, however it is made."""

import abc
import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.data.pictures import SIZE

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet: Lightly's default, on CIFAR too


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


class Views(abc.ABC):
    """Makes the two views of a batch."""

    @abc.abstractmethod
    def views(self, images: Tensor, samples: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return both views, normalised float32 ``[B, 3, 32, 32]`` channels-last, on the images' device.

        Args:
            images: ``[B, 3, 32, 32]`` bytes.
            samples: ``[B]`` the images' places in the train split, on the CPU.
            epoch: from 0.
        """


def normalise(images: Tensor) -> Tensor:
    """Return bytes ``[N, 3, 32, 32]`` as normalised float32, channels-last, with nothing random done."""
    return normalised(images.permute(1, 0, 2, 3).float().reshape(3, len(images), SIZE * SIZE))


def normalised(planes: Tensor) -> Tensor:
    """Scale planes ``[3, N, 1024]`` in place, in Lightly's order of operations; return ``[N, 3, 32, 32]``."""
    mean, std = (torch.tensor(three, device=planes.device)[:, None, None] for three in (MEAN, STD))
    planes.mul_(1 / 255).sub_(mean).div_(std)
    return planes.permute(1, 2, 0).contiguous().view(planes.shape[1], SIZE, SIZE, 3).permute(0, 3, 1, 2)


def stream_seed(*place: str | int) -> int:
    """Return a seed that belongs to one place, e.g. a run's seed and an epoch, and is unlike any other's."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, place)).encode()).digest()[:7], "big")
