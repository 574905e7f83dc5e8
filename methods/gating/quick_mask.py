"""The mask of a block, decided in less time than its own small convolution takes."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.gating.mask_unit import MaskUnit
from methods.gating.open_conv import OpenConv


class QuickMask(nn.Module):
    """What a mask unit decides in evaluation mode, up to the rounding of its logits.

    A convolution with one output fills one of a vector's lanes. Here each pixel is multiplied with the nine weights
    of the window at once, and the nine products of a window are added up.

    Args:
        unit: it must not change afterwards.
    """

    @torch.no_grad()
    def __init__(self, unit: MaskUnit) -> None:
        super().__init__()
        self.unit = unit
        weight = unit.window.weight[0].flatten(1).t()
        products = nn.Conv2d(weight.shape[1], len(weight), 1, bias=False)
        products.weight.copy_(weight[:, :, None, None])
        self.products = OpenConv(products)

    @torch.no_grad()
    def forward(self, images: Tensor, noise: None) -> Tensor:
        """Return a mask ``[N, 1, H', W']``, 0. or 1.

        Args:
            images: ``[N, C, H, W]``.
            noise: there is none, as in evaluation mode.
        """
        window, bias = self.unit.window, self.unit.window.bias
        assert bias is not None
        products = self.products.write(self.products.output(images), images).permute(0, 2, 3, 1)
        products = functional.pad(products, (0, 0, 1, 1, 1, 1))
        high, wide = ((side - 1) // window.stride[0] + 1 for side in images.shape[2:])
        logits = self.unit.image(images.mean((2, 3)))[..., None] + bias
        for place in range(9):
            row, column = divmod(place, 3)
            rows = slice(row, row + (high - 1) * window.stride[0] + 1, window.stride[0])
            columns = slice(column, column + (wide - 1) * window.stride[1] + 1, window.stride[1])
            logits = logits + products[:, rows, columns, place]
        return self.unit.decided(logits[:, None], noise)


__all__ = ["QuickMask"]
