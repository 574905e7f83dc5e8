"""Really skipping: a structured gated convolution that computes only what its gates let through.

The masked path of ``GatedConv2d`` computes everything and throws some of it away, as training must. Here each slice of
output channels gathers the patches of the pixels whose gate is on, multiplies those, and adds the result to the base
path. Source: ours; the published code only masks.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.gating.convolution import GatedConv2d


@torch.no_grad()
def skipped(layer: GatedConv2d, images: Tensor) -> Tensor:
    """Return what ``layer`` returns in evaluation mode, up to rounding, ``[N, out_channels, H', W']``.

    Args:
        layer: with slices of channels; slices of one are allowed, but gather a patch per channel and pixel.
        images: ``[N, in_channels, H, W]``.

    Raises:
        ValueError: the layer is in training mode, where gates depend on the batch.
    """
    if layer.training:
        raise ValueError("skipping is for inference: call `.eval()` first.")
    conv, size = layer.conv, layer.gate.slice_channels
    output = layer.base(images)
    on = layer.decide(output) > 0
    groups = layer.groups if layer.partition == "blocks" else 1
    slices = layer.gate.slices // groups
    for group in range(groups):
        inputs = layer.base_mask()[group * slices * size, :, 0, 0] == 0  # what the base path has not read
        pixels = _padded(conv, images[:, inputs])
        for index in range(group * slices, (group + 1) * slices):
            channels = slice(index * size, (index + 1) * size)
            where = on[:, index].nonzero(as_tuple=True)
            rest = _products(conv, pixels, conv.weight[channels, inputs], where)
            output[:, channels].permute(0, 2, 3, 1)[where] += rest
    return output


def _padded(conv: nn.Conv2d, images: Tensor) -> Tensor:
    """Return ``[N, H, W, channels]`` with the convolution's zeros around it."""
    assert not isinstance(conv.padding, str)
    rows, columns = conv.padding
    return functional.pad(images.permute(0, 2, 3, 1), (0, 0, columns, columns, rows, rows)).contiguous()


def _products(conv: nn.Conv2d, pixels: Tensor, weight: Tensor, where: tuple[Tensor, ...]) -> Tensor:
    """Return the convolution with ``weight`` at the output pixels ``where``: ``[pixels, out_channels]``."""
    samples, rows, columns = where
    _, height, width, _ = pixels.shape
    corner = (samples * height + rows * conv.stride[0]) * width + columns * conv.stride[1]
    flat, total = pixels.flatten(0, 2), pixels.new_zeros(len(corner), len(weight))
    for row, column in itertools.product(range(conv.kernel_size[0]), range(conv.kernel_size[1])):
        gathered = flat.index_select(0, corner + row * conv.dilation[0] * width + column * conv.dilation[1])
        total.addmm_(gathered, weight[:, :, row, column].T)
    return total


__all__ = ["skipped"]
