"""Pillow's image operations for a whole batch at once, equal to Pillow's bit for bit.

Images are *planes*: float32 ``[3, N, 1024]`` that hold whole numbers 0 to 255, so that each channel of the
batch is one contiguous run. Sums are of whole numbers (or multiples of 1/64) that float32 holds exactly;
whatever else happens is one pixel's, by single, correctly rounded operations. So neither the batch, nor the
number of threads, nor the kernel that is chosen changes a bit.

Source: Pillow's ``src/libImaging/{Resample,Blend,Convert}.c`` and ``ImageEnhance.py``; compared with Pillow
13.0 on x86-64, the hue over all 2^24 colours. On ARM, compilers may fuse Blend.c's multiplication and
addition, and Pillow may then differ by one level from this, which does not change.
"""

import torch
from torch import Tensor

from bench.views.base import SIZE

PIXELS = SIZE * SIZE
LUMA = (19595.0, 38470.0, 7471.0)  # Convert.c: ITU-R 601-2 in 1/65536; sums stay below 2^24


def tent(start: Tensor, length: Tensor, mirrored: Tensor) -> Tensor:
    """Return bilinear weights that stretch ``length`` pixels from ``start`` to 32: ``[N, 32 out, 32 in]``.

    A stretch never takes more than two pixels, and its weights are multiples of 1/64: exact in float32. At
    the crop's border Pillow renormalises the weights that are left, which is to hold the outermost pixel.

    Args:
        start: ``[N]`` first pixel of the crop.
        length: ``[N]`` pixels of the crop, 1 to 32.
        mirrored: ``[N]`` 1.0 where the output runs backwards.
    """
    position = torch.arange(SIZE, device=start.device, dtype=torch.float32)
    forward = (1 - 2 * mirrored)[:, None] * position + (SIZE - 1) * mirrored[:, None]
    centre = ((forward + 0.5) * (length[:, None] / SIZE) - 0.5).clamp_(min=0)
    centre = torch.minimum(centre, length[:, None] - 1) + start[:, None]
    return (centre[:, :, None] - position).abs_().neg_().add_(1).clamp_(min=0)


def resampled(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Return planes: rows stretched, rounded, columns stretched, rounded, as ``Image.resize(BILINEAR)`` does.

    Args:
        images: ``[N, 3, 32, 32]`` bytes.
        across: ``[N, 32, 32]`` weights along x, from ``tent``.
        down: ``[N, 32, 32]`` weights along y.
    """
    count = len(images)
    rows = torch.bmm(images.float().view(count, 3 * SIZE, SIZE), across.transpose(1, 2))
    rows = rows.add_(0.5).floor_().view(count, 3, SIZE, SIZE)
    planes = torch.empty(3, count, SIZE, SIZE, device=images.device)
    for channel in range(3):
        torch.bmm(down, rows[:, channel], out=planes[channel])
    return planes.add_(0.5).floor_().view(3, count, PIXELS)


def grey(planes: Tensor) -> Tensor:
    """Return luminance ``[N, 1024]`` as ``Image.convert("L")`` does."""
    luma = planes[0] * LUMA[0]
    luma.add_(planes[1], alpha=LUMA[1]).add_(planes[2], alpha=LUMA[2])
    return luma.add_(32768.0).mul_(1 / 65536).floor_()


def blend(planes: Tensor, against: Tensor, factor: Tensor) -> None:
    """Move planes away from ``against``, in place: 0 gives ``against``, 1 nothing new. Fractions are cut off.

    Args:
        planes: ``[3, N, 1024]``.
        against: ``[N, 1024]`` or ``[N, 1]``.
        factor: ``[N, 1]``, not negative.
    """
    planes.sub_(against).mul_(factor).add_(against).clamp_(0, 255).floor_()


def turn_hue(planes: Tensor, shift: Tensor) -> None:
    """Turn the hue, in place, by way of Pillow's HSV of three bytes.

    Args:
        planes: ``[3, N, 1024]``.
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
    hue = sector.add_(sign).sub_(middle.mul_(sign)).div_(6)
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
        lost = weight.clamp_(0, 85).mul_(saturation).div_(255 * 85)
        torch.sub(value, lost, out=plane)
        plane.add_(0.5).floor_()


def solarised(planes: Tensor) -> Tensor:
    """Return planes with every level from 128 inverted, as ``ImageOps.solarize`` does."""
    return torch.where(planes < 128, planes, 255 - planes)
