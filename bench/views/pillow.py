"""Pillow's image operations for a whole batch at once, equal to Pillow's bit for bit.

Images are *planes*: float32 ``[3, N, P]``, P pixels each, that hold whole numbers 0 to 255, so that each channel of the
batch is one contiguous run. Sums are of whole numbers that float32 holds exactly;
whatever else happens is one pixel's, by single, correctly rounded operations. So neither the batch, nor the
number of threads, nor the kernel that is chosen changes a bit, nor does a GPU: there, a number that is added a
multiple of is not rounded in between, but such products are whole numbers here; and division is ``divided``.

Source: Pillow's ``src/libImaging/{Blend,Convert}.c`` and ``ImageEnhance.py``; compared with Pillow
13.0 on x86-64, the hue over all 2^24 colours. On ARM, compilers may fuse Blend.c's multiplication and
addition, and Pillow may then differ by one level from this, which does not change.
"""

import torch
from torch import Tensor

LUMA = (19595.0, 38470.0, 7471.0)  # Convert.c: ITU-R 601-2 in 1/65536; sums stay below 2^24


def grey(planes: Tensor) -> Tensor:
    """Return luminance ``[N, P]`` as ``Image.convert("L")`` does."""
    luma = planes[0] * LUMA[0]
    luma.add_(planes[1], alpha=LUMA[1]).add_(planes[2], alpha=LUMA[2])
    return luma.add_(32768.0).mul_(1 / 65536).floor_()


def mean_grey(greys: Tensor) -> Tensor:
    """Return the mean of luminances ``[N, P]``, rounded as ``ImageEnhance.Contrast`` does: ``[N, 1]``."""
    pixels = greys.shape[1]
    exact = torch.float32 if 255 * pixels < 2**24 else torch.float64  # holds every partial sum
    total = greys.sum(1, keepdim=True, dtype=exact)
    return divided(total.double(), pixels).add_(0.5).floor_().float()


def divided(tensor: Tensor, number: float) -> Tensor:
    """Divide by a number, in place, correctly rounded on every device.

    On CUDA, PyTorch multiplies by the rounded reciprocal of a divisor that lies on the host. As ``hue / 6`` that moved
    one pixel in two thousand by up to seven levels. By a tensor of the device's it divides.
    """
    return tensor.div_(tensor.new_full((), number))


def blend(planes: Tensor, against: Tensor, factor: Tensor) -> None:
    """Move planes away from ``against``, in place: 0 gives ``against``, 1 nothing new. Fractions are cut off.

    Args:
        planes: ``[3, N, P]``.
        against: ``[N, P]`` or ``[N, 1]``.
        factor: ``[N, 1]``, not negative.
    """
    planes.sub_(against).mul_(factor).add_(against).clamp_(0, 255).floor_()


def turn_hue(planes: Tensor, shift: Tensor) -> None:
    """Turn the hue, in place, by way of Pillow's HSV of three bytes.

    Args:
        planes: ``[3, N, P]``.
        shift: ``[N, 1]`` whole numbers 0 to 255, in 1/256 (as torchvision wraps them) of a hue byte's range.
    """
    red, green, blue = planes
    value = torch.maximum(torch.maximum(red, green), blue)
    least = torch.minimum(torch.minimum(red, green), blue)
    total = (red + green).add_(blue)
    chroma = value - least
    divisor = chroma.clamp(min=1)
    # 1 or 0: which channel is the greatest; at a tie the first of red, green, blue
    is_red = torch.eq(red, value, out=torch.empty_like(red))
    is_green = torch.eq(green, value, out=torch.empty_like(red))
    is_green.addcmul_(is_green, is_red, value=-1)
    # which of the other two is greater: the sign of green - blue, blue - red or red - green
    sign = red - green
    sign.addcmul_(is_red, torch.sub(total, green, alpha=3), value=-1)
    sign.addcmul_(is_green, torch.sub(total, red, alpha=3)).sign_()
    sector = is_red.mul_(-4).add_(is_green, alpha=-2).add_(4)  # 0, 2, 4
    middle = least.sub_(total).add_(value, alpha=2).div_(divisor)  # how far the middle channel is below the greatest
    hue = divided(sector.add_(sign).sub_(middle.mul_(sign)), 6)
    hue.sub_(hue.floor()).mul_(255).floor_()
    hue.add_(shift)
    hue.sub_(torch.ge(hue, 256, out=is_green), alpha=256)

    saturation = chroma.div_(value.clamp(min=1)).mul_(255).floor_()
    hue.mul_(2)  # in 1/85 of a sector: the weights below are whole numbers 0 to 85
    saturation.mul_(value)
    for plane, weight in (
        (red, (hue - 255).abs_().neg_().add_(170)),
        (green, (hue - 170).abs_().sub_(85)),
        (blue, hue.sub_(340).abs_().sub_(85)),
    ):
        lost = divided(weight.clamp_(0, 85).mul_(saturation), 255 * 85)
        torch.sub(value, lost, out=plane)
        plane.add_(0.5).floor_()


def solarised(planes: Tensor) -> Tensor:
    """Return planes with every level from 128 inverted, as ``ImageOps.solarize`` does."""
    return torch.where(planes < 128, planes, 255 - planes)
