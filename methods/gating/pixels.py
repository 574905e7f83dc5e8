"""A convolution at some of its output pixels: rows of open pixels are gathered, once per kernel row, and multiplied."""

import torch
from torch import Tensor, nn

from methods.gating.windows import Windows, places

CHUNK = 512  # pixels gathered at once: few enough that they stay in a core's cache, enough for a product to be worth it


class PixelConv(nn.Module):
    """A convolution of one group, for inference, that is computed at the pixels it is asked for.

    In channels-last memory the pixels under one row of the kernel are neighbours, so that an open pixel's window is
    as many copies of ``kernel width x channels`` numbers as the kernel has rows. Each such row is multiplied with its
    part of the weights and added up: no column matrix of the whole map is ever written. Source: ours.

    Args:
        conv: with zero padding given in pixels; it must not change afterwards.
        scale: ``[out_channels]``: what its outputs are multiplied with; ``None``: nothing.
        shift: ``[out_channels]``: what is added then; ``None``: nothing.

    Attributes:
        weight: ``[kernel height, kernel width x in_channels, out_channels]`` buffer.
        bias: ``[out_channels]`` buffer.
        windows: what lies under the kernel.

    Raises:
        ValueError: if the convolution is of another kind.
    """

    weight: Tensor
    bias: Tensor

    @torch.no_grad()
    def __init__(self, conv: nn.Conv2d, scale: Tensor | None = None, shift: Tensor | None = None) -> None:
        super().__init__()
        self.windows = Windows.of(conv)
        ones, zeros = conv.weight.new_ones(conv.out_channels), conv.weight.new_zeros(conv.out_channels)
        scale, shift = ones if scale is None else scale, zeros if shift is None else shift
        packed = (conv.weight * scale[:, None, None, None]).permute(2, 3, 1, 0).flatten(1, 2)
        self.register_buffer("weight", packed.contiguous(), persistent=False)
        bias = zeros if conv.bias is None else conv.bias
        self.register_buffer("bias", bias * scale + shift, persistent=False)

    def write(self, output: Tensor, padded: Tensor, is_open: Tensor, first: int = 0) -> None:
        """Put the convolution's outputs where a pixel is open; leave the others alone.

        Args:
            output: ``[N H' W', channels]``: some neighbouring output channels of every pixel.
            padded: what ``windows.padded`` returns of the images.
            is_open: bool ``[N, H', W']``.
            first: which output channel the first column of ``output`` is.
        """
        size = (is_open.shape[1], is_open.shape[2])
        under = self._under(padded)
        columns = slice(first, first + output.shape[1])
        weight, bias = self.weight[:, :, columns], self.bias[columns]
        for part in places(is_open).split(CHUNK):
            corner, made = self.windows.corners(part, size, padded), bias
            for row, of_row in enumerate(weight):
                gathered = under.index_select(0, corner + self.windows.away((row, 0), padded)).flatten(1)
                made = made.addmm_(gathered, of_row) if row else torch.addmm(bias, gathered, of_row)
            output.index_copy_(0, part, made)

    def _under(self, padded: Tensor) -> Tensor:
        """Return what lies under a row of the kernel, by its first pixel: a view ``[pixels, width, channels]``."""
        flat, width, apart = padded.flatten(0, 2), self.windows.kernel[1], self.windows.dilation[1]
        channels = flat.shape[1]
        return flat.as_strided((len(flat) - apart * (width - 1), width, channels), (channels, apart * channels, 1))


__all__ = ["CHUNK", "PixelConv"]
