"""A convolution at some of its output pixels: rows of open pixels are gathered, once per kernel row, and multiplied."""

import torch
from torch import Tensor, nn
from torch.nn import functional

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

    Raises:
        ValueError: if the convolution is of another kind.
    """

    weight: Tensor
    bias: Tensor

    @torch.no_grad()
    def __init__(self, conv: nn.Conv2d, scale: Tensor | None = None, shift: Tensor | None = None) -> None:
        super().__init__()
        if conv.groups != 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            raise ValueError(
                "only convolutions with one group and zero padding in pixels are computed pixel by pixel, not "
                f"{conv}. Keep the layer as it is."
            )
        ones, zeros = conv.weight.new_ones(conv.out_channels), conv.weight.new_zeros(conv.out_channels)
        scale, shift = ones if scale is None else scale, zeros if shift is None else shift
        packed = (conv.weight * scale[:, None, None, None]).permute(2, 3, 1, 0).flatten(1, 2)
        self.register_buffer("weight", packed.contiguous(), persistent=False)
        bias = zeros if conv.bias is None else conv.bias
        self.register_buffer("bias", bias * scale + shift, persistent=False)
        self.kernel, self.stride, self.dilation = conv.kernel_size, conv.stride, conv.dilation
        self.padding: tuple[int, ...] = conv.padding

    def padded(self, images: Tensor) -> Tensor:
        """Return ``[N, H, W, channels]``, contiguous, with the convolution's zeros around each map."""
        rows, columns = self.padding
        return functional.pad(images.permute(0, 2, 3, 1), (0, 0, columns, columns, rows, rows)).contiguous()

    def size(self, padded: Tensor) -> tuple[int, int]:
        """Return height and width of the output."""
        high, wide = (
            (padded.shape[axis + 1] - self.dilation[axis] * (self.kernel[axis] - 1) - 1) // self.stride[axis] + 1
            for axis in (0, 1)
        )
        return high, wide

    def write(self, output: Tensor, padded: Tensor, is_open: Tensor, first: int = 0) -> None:
        """Put the convolution's outputs where a pixel is open; leave the others alone.

        Args:
            output: ``[N H' W', channels]``: some neighbouring output channels of every pixel.
            padded: what ``padded`` returns of the images.
            is_open: bool ``[N, H', W']``.
            first: which output channel the first column of ``output`` is.
        """
        pixels = is_open.flatten().nonzero().squeeze(1)
        windows, step = self._windows(padded), self.dilation[0] * padded.shape[2]
        columns = slice(first, first + output.shape[1])
        weight, bias = self.weight[:, :, columns], self.bias[columns]
        for part in pixels.split(CHUNK):
            corner, made = self._corner(part, padded), bias
            for row, of_row in enumerate(weight):
                gathered = windows.index_select(0, corner + row * step).flatten(1)
                made = made.addmm_(gathered, of_row) if row else torch.addmm(bias, gathered, of_row)
            output.index_copy_(0, part, made)

    def _windows(self, padded: Tensor) -> Tensor:
        """Return what lies under a row of the kernel, by its first pixel: a view ``[pixels, width, channels]``."""
        flat, width, apart = padded.flatten(0, 2), self.kernel[1], self.dilation[1]
        channels = flat.shape[1]
        return flat.as_strided((len(flat) - apart * (width - 1), width, channels), (channels, apart * channels, 1))

    def _corner(self, pixels: Tensor, padded: Tensor) -> Tensor:
        """Return the first pixel under the kernel of each output pixel, both counted over all maps."""
        high, wide = self.size(padded)
        image, within = pixels.div(high * wide, rounding_mode="floor"), pixels.remainder(high * wide)
        row, column = within.div(wide, rounding_mode="floor"), within.remainder(wide)
        return (image * padded.shape[1] + row * self.stride[0]) * padded.shape[2] + column * self.stride[1]


__all__ = ["PixelConv"]
