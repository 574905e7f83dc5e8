"""From bytes to the normalised floats that every encoder sees."""

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet: Lightly's default, on CIFAR too


def normalise(images: Tensor) -> Tensor:
    """Return bytes ``[N, 3, S, S]`` as normalised float32, channels-last, with nothing random done."""
    count, _, height, width = images.shape
    return normalised(images.permute(1, 0, 2, 3).float().reshape(3, count, height * width))


def normalised(planes: Tensor) -> Tensor:
    """Scale planes ``[3, N, S * S]`` in place, in Lightly's order of operations; return ``[N, 3, S, S]``."""
    mean, std = _moments(planes.device)
    planes.mul_(1 / 255).sub_(mean).div_(std)
    side = math.isqrt(planes.shape[2])
    return planes.permute(1, 2, 0).contiguous().view(planes.shape[1], side, side, 3).permute(0, 3, 1, 2)


def reduced(views: Tensor, side: int) -> Tensor:
    """Return views ``[B, 3, H, W]`` as ``[B, 3, side, side]`` channels-last, each pixel the mean of what it covers."""
    small = functional.interpolate(views, size=(side, side), mode="area")
    return small.contiguous(memory_format=torch.channels_last)


@functools.cache
def _moments(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation on a device, where they are kept: a copy a batch would make it wait."""
    mean, std = (torch.tensor(three, device=device)[:, None, None] for three in (MEAN, STD))
    return mean, std
