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


class Skipping(nn.Module):
    """A gated layer, for inference, with its weights packed once: per slice, those that the base path does not have.

    Args:
        layer: in evaluation mode; slices of one channel are allowed, but gather a patch per channel and pixel. It must
            not change afterwards.

    Raises:
        ValueError: the layer is in training mode, where gates depend on the batch.
    """

    def __init__(self, layer: GatedConv2d) -> None:
        super().__init__()
        if layer.training:
            raise ValueError("skipping is for inference: call `.eval()` first.")
        self.layer = layer
        size = layer.gate.slice_channels
        rest = layer.base_mask()[:, :, 0, 0] == 0  # what the base path has not read
        self.weights = [layer.conv.weight.detach()[c : c + size, rest[c]] for c in range(0, len(rest), size)]
        self.groups = layer.groups if layer.partition == "blocks" else 1  # within one, all slices read the same
        self.inputs = [rest[c] for c in range(0, len(rest), len(rest) // self.groups)]

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return what the layer returns in evaluation mode, up to rounding, ``[N, out_channels, H', W']``.

        Args:
            images: ``[N, in_channels, H, W]``.
        """
        layer, size = self.layer, self.layer.gate.slice_channels
        output = layer.base(images)
        on = layer.decide(layer.gate, output) > 0
        slices = layer.gate.slices // self.groups
        for group, inputs in enumerate(self.inputs):
            pixels = _padded(layer.conv, images[:, inputs])
            for index in range(group * slices, (group + 1) * slices):
                where = on[:, index].nonzero(as_tuple=True)
                rest = _products(layer.conv, pixels, self.weights[index], where)
                output[:, index * size : (index + 1) * size].permute(0, 2, 3, 1)[where] += rest
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


__all__ = ["Skipping"]
