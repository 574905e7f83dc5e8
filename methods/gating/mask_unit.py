"""The small network that decides, pixel by pixel, what a block computes."""

import torch
from torch import Tensor, nn

from methods.gating.deciding_unit import DecidingUnit


class MaskUnit(DecidingUnit):
    """A logit per output pixel of a convolution, from the same window plus a term for the whole image."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        stride = (conv.stride[0], conv.stride[1])
        self.window = nn.Conv2d(conv.in_channels, 1, 3, stride=stride, padding=1)
        self.image = nn.Linear(conv.in_channels, 1)

    def forward(self, images: Tensor, noise: torch.Generator | None) -> Tensor:
        """Return a mask ``[N, 1, H', W']``, 0. or 1.; backwards the sigmoid that stands in for the step.

        Args:
            images: ``[N, C, H, W]``.
            noise: as of ``decided``.
        """
        logits: Tensor = self.window(images) + self.image(images.mean((2, 3)))[..., None, None]
        return self.decided(logits, noise)

    @staticmethod
    def overhead_macs(images: Tensor, mask: Tensor) -> int:
        """Return the image's means, the sum of the two terms and the comparison, per image."""
        return images[0].numel() + 2 * mask[0].numel()
