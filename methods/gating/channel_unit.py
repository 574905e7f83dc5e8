"""The small network that decides, image by image, which channels between a block's two convolutions are computed."""

import torch
from torch import Tensor, nn

from methods.gating.deciding_unit import DecidingUnit

SQUEEZE = 4  # the hidden layer is a quarter as wide as the input
TEMPERATURE = 2 / 3  # of the sigmoid that stands in for the step in the backward pass


class ChannelUnit(DecidingUnit):
    """A logit per output channel of a convolution, from the mean of each input channel.

    Source: ``Mask_c`` and ``GumbelSoftmax`` of KrishnaTarun/Unification at 1c562eb, ``solo/methods/ResCg/mask.py:43``
    and ``:8``: two 1x1 convolutions without bias, a batch normalisation between them, logistic noise in training.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = max(1, inputs // SQUEEZE)
        self.squeeze = nn.Linear(inputs, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.excite = nn.Linear(hidden, outputs, bias=False)
        for layer in (self.squeeze, self.excite):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor, noise: torch.Generator | None) -> Tensor:
        """Return a mask ``[N, C]``, 0. or 1.; backwards the sigmoid that stands in for the step.

        Args:
            images: ``[N, inputs, H, W]``.
            noise: as of ``decided``.
        """
        logits: Tensor = self.excite(torch.relu(self.norm(self.squeeze(images.mean((2, 3))))))
        return self.decided(logits, noise, temperature=TEMPERATURE)

    @staticmethod
    def overhead_macs(images: Tensor, mask: Tensor) -> int:
        """Return the image's means and the comparison, per image; products are counted as the unit's own layers."""
        return images[0].numel() + mask[0].numel()


__all__ = ["ChannelUnit"]
