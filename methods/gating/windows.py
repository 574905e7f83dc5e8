"""Which input pixels lie under a convolution's kernel."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

MOSTLY = 0.6  # of all pixels: an estimate, by times at 0.26 and 0.5 (nox -s gate_speed) taken to grow with the rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The geometry of a convolution of one group with zero padding; pairs are of rows and columns.

    Attributes:
        kernel: its height and width.
        stride: pixels from one window to the next.
        dilation: pixels from one position of the kernel to the next.
        padding: pixels of zeros before the first one and behind the last one.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]

    @classmethod
    def of(cls, conv: nn.Conv2d) -> "Windows":
        """Return those of a convolution.

        Raises:
            ValueError: it is of another kind.
        """
        if conv.groups != 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            raise ValueError(
                "only convolutions with one group and zero padding in pixels are computed pixel by pixel, not "
                f"{conv}. Keep the layer as it is."
            )
        kernel, stride, dilation, padding = (
            (pair[0], pair[1]) for pair in (conv.kernel_size, conv.stride, conv.dilation, conv.padding)
        )
        return cls(kernel=kernel, stride=stride, dilation=dilation, padding=padding)

    def positions(self) -> Iterator[tuple[int, int]]:
        """Give row and column of every position of the kernel, row by row."""
        yield from ((row, column) for row in range(self.kernel[0]) for column in range(self.kernel[1]))

    def size(self, images: Tensor) -> tuple[int, int]:
        """Return height and width of the output of images ``[N, C, H, W]``."""
        high, wide = (
            (images.shape[2 + axis] + 2 * self.padding[axis] - self.dilation[axis] * (self.kernel[axis] - 1) - 1)
            // self.stride[axis]
            + 1
            for axis in (0, 1)
        )
        return high, wide

    def padded(self, images: Tensor) -> Tensor:
        """Return ``[N, H, W, C]``, contiguous, with the convolution's zeros around each map."""
        rows, columns = self.padding
        return functional.pad(images.permute(0, 2, 3, 1), (0, 0, columns, columns, rows, rows)).contiguous()

    def inside(self, padded: Tensor) -> Tensor:
        """Return the images in what ``padded`` returns, a view ``[N, C, H, W]``."""
        rows, columns = self.padding
        return padded[:, rows : padded.shape[1] - rows, columns : padded.shape[2] - columns].permute(0, 3, 1, 2)

    def corners(self, pixels: Tensor, size: tuple[int, int], padded: Tensor) -> Tensor:
        """Return the first pixel under the kernel of each output pixel, both counted over all maps.

        Args:
            pixels: int64 ``[P]``: of the output.
            size: height and width of the output.
            padded: what ``padded`` returns of the images.
        """
        high, wide = size
        image, within = pixels.div(high * wide, rounding_mode="floor"), pixels.remainder(high * wide)
        row, column = within.div(wide, rounding_mode="floor"), within.remainder(wide)
        return (image * padded.shape[1] + row * self.stride[0]) * padded.shape[2] + column * self.stride[1]

    def away(self, position: tuple[int, int], padded: Tensor) -> int:
        """Return how many pixels of the padded images a position of the kernel lies behind its first one."""
        return position[0] * self.dilation[0] * padded.shape[2] + position[1] * self.dilation[1]


def are_mostly(is_open: Tensor) -> bool:
    """Return whether so many pixels of bool maps are open that computing the others too takes less time."""
    return int(is_open.count_nonzero()) > MOSTLY * is_open.numel()


def places(is_open: Tensor) -> Tensor:
    """Return the open pixels of bool maps, counted over all maps in order, int64 ``[P]``."""
    return torch.nonzero(is_open.flatten()).squeeze(1)


__all__ = ["MOSTLY", "Windows", "are_mostly", "places"]
