"""The mask of a block, decided in less time than its own small convolution takes."""

import torch
from torch import Tensor, nn

from methods.gating import compiled
from methods.gating.mask_unit import MaskUnit
from methods.gating.open_conv import OpenConv
from methods.gating.windows import Windows


class QuickMask(nn.Module):
    """What a mask unit decides in evaluation mode, up to the rounding of its logits.

    A convolution with one output fills one of a vector's lanes, and the mean of an image reads it once more. Here each
    pixel is multiplied at once with the nine weights of the window and with those of the image's mean; the nine
    products of a window are added up, and the mean of the tenth.

    Args:
        unit: it must not change afterwards.
    """

    @torch.no_grad()
    def __init__(self, unit: MaskUnit) -> None:
        super().__init__()
        self.unit = unit
        weight = torch.cat([unit.window.weight[0].flatten(1).t(), unit.image.weight])
        products = nn.Conv2d(weight.shape[1], len(weight), 1, bias=False)
        products.weight.copy_(weight[:, :, None, None])
        self.products = OpenConv(products)
        assert unit.window.bias is not None
        self._windows, self._level = Windows.of(unit.window), float(unit.aim - unit.window.bias - unit.image.bias)

    @torch.no_grad()
    def forward(self, images: Tensor, noise: None) -> Tensor:  # noqa: ARG002 (as of a mask unit)
        """Return a mask ``[N, 1, H', W']``, 0. or 1.

        Args:
            images: ``[N, C, H, W]``.
            noise: there is none, as in evaluation mode.
        """
        products = self.products.write(self.products.output(images), images)
        count, _, *sides = images.shape
        size = self._windows.size(images)
        is_open = torch.empty(count, 1, *size, dtype=torch.bool)
        pointers = products.data_ptr(), is_open.data_ptr()
        compiled.library().mask(*pointers, self._level, count, *sides, *size, *self._windows.stride)
        return is_open.to(images.dtype)


__all__ = ["QuickMask"]
