"""Crops made squares of any size, for a whole batch at once, equal to Pillow's ``resize`` bit for bit.

Pillow weighs in whole numbers of 2^-22 and rounds after each of its two passes; so does this, in 32-bit integers, on
any device. Between sides that are one power of two, weights are multiples of 2^-(k + 1) and matrix products of floats
are as exact, also with the eleven bits that TF32 keeps; they are many times as fast.

Source: Pillow's ``src/libImaging/Resample.c``. Which pass comes first was found by comparing with Pillow 13.0, both
ways, over sizes: older versions always begin with the rows.
"""

import math

import torch
from torch import Tensor

from bench.views import pillow

PRECISION_BITS = 22
MOST_EXACT_SIDE = 512  # of a power of two, in float32 and TF32


def is_exact_in_floats(side: int, out_side: int) -> bool:
    """Return whether crops of images of ``side`` pixels become ``out_side`` pixels by exact products of floats."""
    return side == out_side <= MOST_EXACT_SIDE and side & (side - 1) == 0


def tent(start: Tensor, length: Tensor, mirrored: Tensor, side: int) -> Tensor:
    """Return bilinear weights that stretch ``length`` pixels from ``start`` to a power of two: ``[N, out, in]``.

    A stretch never takes more than two pixels, and its weights are multiples of 1/(2 side): exact in float32. At
    the crop's border Pillow renormalises the weights that are left, which is to hold the outermost pixel.

    Args:
        start: ``[N]`` first pixel of the crop.
        length: ``[N]`` pixels of the crop, 1 to ``side``.
        mirrored: ``[N]`` 1.0 where the output runs backwards.
        side: of image and output.
    """
    position = torch.arange(side, device=start.device, dtype=torch.float32)
    forward = (1 - 2 * mirrored)[:, None] * position + (side - 1) * mirrored[:, None]
    centre = ((forward + 0.5) * (length[:, None] / side) - 0.5).clamp_(min=0)
    centre = torch.minimum(centre, length[:, None] - 1) + start[:, None]
    return (centre[:, :, None] - position).abs_().neg_().add_(1).clamp_(min=0)


def multiplied(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Return planes ``[3, N, side * side]``: rows stretched, rounded, columns stretched, rounded.

    Args:
        images: ``[N, 3, side, side]`` bytes.
        across: ``[N, side, side]`` weights along x, from ``tent``.
        down: ``[N, side, side]`` weights along y.
    """
    count, _, side, _ = images.shape
    rows = torch.bmm(images.float().view(count, 3 * side, side), across.transpose(1, 2))
    rows = rows.add_(0.5).floor_().view(count, 3, side, side)
    planes = torch.empty(3, count, side, side, device=images.device)
    for channel in range(3):
        torch.bmm(down, rows[:, channel], out=planes[channel])
    return planes.add_(0.5).floor_().view(3, count, side * side)


def taps(length: Tensor, mirrored: Tensor, side: int, out_side: int) -> tuple[Tensor, Tensor]:
    """Return Pillow's own weights, which also shrink: the first pixel of each output, and the weights from there on.

    Args:
        length: ``[N]`` pixels of the crop, 1 to ``side``.
        mirrored: ``[N]`` 1.0 where the output runs backwards.
        side: of the images.
        out_side: of the output.

    Returns:
        ``[N, out]`` pixels, counted from the crop's first, and ``[N, out, T]`` weights in 2^-22, both int64.
    """
    lengths, flips = length.double()[:, None], mirrored.double()[:, None]
    position = torch.arange(out_side, device=length.device, dtype=torch.float64)
    forward = (1 - 2 * flips) * position + (out_side - 1) * flips
    scale = pillow.divided(lengths.clone(), out_side)
    support = scale.clamp(min=1)
    centre = (forward + 0.5) * scale
    first = (centre - support + 0.5).trunc_().clamp_(min=0)
    last = torch.minimum((centre + support + 0.5).trunc_(), lengths)
    weights, total = [], torch.zeros_like(centre)
    for tap in range(2 * math.ceil(max(1.0, side / out_side)) + 1):  # one after another: sums round as Pillow's
        weight = ((first + tap - centre + 0.5) * (1 / support)).abs_().neg_().add_(1).clamp_(min=0)
        weight.mul_(first + tap < last)
        weights.append(weight)
        total += weight
    whole = [(weight / total * 2**PRECISION_BITS + 0.5).floor_().long() for weight in weights]
    return first.long(), torch.stack(whole, 2)


def is_tall(width: Tensor, height: Tensor, out_side: int) -> Tensor:
    """Return for which crops Pillow resamples columns before rows."""
    return (height > out_side) & (2 * width < height + out_side)


def gathered(
    images: Tensor, box: tuple[Tensor, Tensor, Tensor, Tensor], mirrored: Tensor, out_side: int, tall: Tensor
) -> Tensor:
    """Return planes ``[3, N, out * out]``: crops of any size made squares of any size, in whole numbers.

    Args:
        images: ``[N, 3, side, side]`` bytes.
        box: left, width, top and height of the crops, ``[N]`` each.
        mirrored: ``[N]`` 1.0 where x runs backwards.
        out_side: of the output.
        tall: rows of the crops that ``is_tall``.
    """
    left, width, top, height = box
    count, _, side, _ = images.shape
    first, weights = taps(width, mirrored, side, out_side)
    across = first + left.long()[:, None], weights
    first, weights = taps(height, torch.zeros_like(mirrored), side, out_side)
    down = first + top.long()[:, None], weights
    squares = _weighed(_weighed(images, *across, axis=3), *down, axis=2)
    if len(tall):
        columns = _weighed(images.index_select(0, tall), *(each.index_select(0, tall) for each in down), axis=2)
        squares.index_copy_(0, tall, _weighed(columns, *(each.index_select(0, tall) for each in across), axis=3))
    return squares.float().transpose(0, 1).reshape(3, count, out_side * out_side)


def _weighed(images: Tensor, first: Tensor, weights: Tensor, *, axis: int) -> Tensor:
    """Return images ``[N, 3, H, W]`` with one axis resampled: bytes again, by Pillow's rounding."""
    shape = list(images.shape)
    shape[axis] = first.shape[1]
    other = [1, 1, 1, 1]
    other[0], other[axis] = first.shape
    total = torch.full(shape, 1 << (PRECISION_BITS - 1), dtype=torch.int32, device=images.device)
    for tap in range(weights.shape[2]):
        pixels = (first + tap).clamp(max=images.shape[axis] - 1).view(other).expand(shape)  # beyond, weights are 0
        total += images.gather(axis, pixels).int() * weights[:, :, tap].int().view(other)
    return (total >> PRECISION_BITS).to(torch.uint8)
