"""Pillow's Gaussian blur for a whole batch at once, equal to Pillow's bit for bit.

Three box blurs of a fractional radius along x, then three along y, each rounded to bytes. For a sigma of at most 2 a
box weighs at most five pixels: the weights of the middle, its neighbours and theirs are whole numbers of 2^-24, whose
sums float64 holds exactly.

Source: Pillow's ``src/libImaging/BoxBlur.c``; P. Gwosdek et al. (2011), "Theoretical Foundations of Gaussian
Convolution by Extended Box Filtering".
"""

import numpy as np
import torch
from torch import Tensor

PASSES = 3
MOST_SIGMA = 2.0
WHOLE = 2**24  # what a box's weights sum to


def box_weights(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weights of a box's middle, of its neighbours, and of theirs, in 2^-24; all in C's own floats.

    Args:
        sigma: ``[N]``, at most 2; 0 blurs nothing.
    """
    radius = sigma.numpy().astype(np.float32)
    one, two, three, six = (np.float32(number) for number in (1, 2, 3, 6))
    variance = radius * radius / np.float32(PASSES)
    length = np.sqrt(12.0 * variance.astype(np.float64) + 1.0).astype(np.float32)
    whole = np.floor((length.astype(np.float64) - 1.0) / 2.0).astype(np.float32)
    fraction = (two * whole + one) * (whole * (whole + one) - three * variance)
    fraction = fraction / (six * (variance - (whole + one) * (whole + one)))
    box = whole + fraction
    inside = np.floor(np.float32(WHOLE) / (box * two + one)).astype(np.int64)
    reach = box.astype(np.int64)
    edge = (WHOLE - (reach * 2 + 1) * inside) // 2
    assert reach.max(initial=0) <= 1, "sigma is at most 2"
    neighbour, beyond = np.where(reach == 1, inside, edge), np.where(reach == 1, edge, 0)
    return torch.from_numpy(inside), torch.from_numpy(neighbour), torch.from_numpy(beyond)


def blurred(planes: Tensor, weights: tuple[Tensor, Tensor, Tensor], side: int) -> Tensor:
    """Return planes ``[3, N, side * side]``, blurred.

    Args:
        planes: whole numbers 0 to 255.
        weights: ``[N]`` each, from ``box_weights``.
        side: of the images.
    """
    images = planes.double().view(3, planes.shape[1], side, side)
    middle, neighbour, beyond = (weight.double().view(-1, 1, 1) for weight in weights)
    position = torch.arange(side, device=planes.device)
    near, far = ([(position + step).clamp(0, side - 1) for step in (-reach, reach)] for reach in (1, 2))
    for axis in (3, 2):
        for _ in range(PASSES):
            total = images * middle
            for weight, (before, behind) in ((neighbour, near), (beyond, far)):
                total += (images.index_select(axis, before) + images.index_select(axis, behind)) * weight
            images = total.add_(WHOLE / 2).mul_(1 / WHOLE).floor_()
    return images.float().view(3, planes.shape[1], side * side)
