"""From bytes to the normalised floats that every encoder sees."""

import torch
from torch import Tensor

from bench.views.base import SIZE

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet: Lightly's default, on CIFAR too


def normalise(images: Tensor) -> Tensor:
    """Return bytes ``[N, 3, 32, 32]`` as normalised float32, channels-last, with nothing random done."""
    return normalised(images.permute(1, 0, 2, 3).float().reshape(3, len(images), SIZE * SIZE))


def normalised(planes: Tensor) -> Tensor:
    """Scale planes ``[3, N, 1024]`` in place, in Lightly's order of operations; return ``[N, 3, 32, 32]``."""
    mean, std = (torch.tensor(three, device=planes.device)[:, None, None] for three in (MEAN, STD))
    planes.mul_(1 / 255).sub_(mean).div_(std)
    return planes.permute(1, 2, 0).contiguous().view(planes.shape[1], SIZE, SIZE, 3).permute(0, 3, 1, 2)
