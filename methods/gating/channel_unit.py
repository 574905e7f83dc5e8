"""The small network that decides, image by image, which channels between a block's two convolutions are computed."""

import torch
from torch import Tensor, nn

STATISTICS = 0.1  # momentum of the running spread of logits, that of batch normalisation
SQUEEZE = 4  # the hidden layer is a quarter as wide as the input
TEMPERATURE = 2 / 3  # of the sigmoid that stands in for the step in the backward pass


class ChannelUnit(nn.Module):
    """A logit per output channel of a convolution, from the mean of each input channel.

    Source: ``Mask_c`` and ``GumbelSoftmax`` of KrishnaTarun/Unification at 1c562eb, ``solo/methods/ResCg/mask.py:43``
    and ``:8``: two 1x1 convolutions without bias, a batch normalisation between them, logistic noise in training.

    Attributes:
        aim: scalar buffer: a channel is kept if its logit is at least this; 0 for the authors.
        moments: float64 ``[2]`` buffer: running means of the logits and of their squares.
    """

    aim: Tensor
    moments: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = max(1, inputs // SQUEEZE)
        self.squeeze = nn.Linear(inputs, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.excite = nn.Linear(hidden, outputs, bias=False)
        for layer in (self.squeeze, self.excite):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.register_buffer("aim", torch.zeros(()))
        self.register_buffer("moments", torch.tensor([0.0, 1.0], dtype=torch.float64))

    def forward(self, images: Tensor, noise: torch.Generator | None) -> Tensor:
        """Return a mask ``[N, C]``, 0. or 1.; backwards the sigmoid that stands in for the step.

        Args:
            images: ``[N, inputs, H, W]``.
            noise: of the logistic noise in training; ``None``: off.
        """
        logits: Tensor = self.excite(torch.relu(self.norm(self.squeeze(images.mean((2, 3))))))
        margin = logits - self.aim
        if not self.training:
            return (margin >= 0).to(margin.dtype)
        with torch.no_grad():
            found = torch.stack([logits.double().mean(), logits.double().square().mean()])
            self.moments.lerp_(found, STATISTICS)
        if noise is not None:
            uniform = torch.rand(margin.shape, generator=noise).clamp(1e-6, 1 - 1e-6)
            margin = margin + torch.logit(uniform).to(margin.device)
        soft = torch.sigmoid(margin / TEMPERATURE)
        return (margin >= 0).to(soft.dtype) + (soft - soft.detach())  # in this order: 0. or 1. exactly

    @staticmethod
    def overhead_macs(images: Tensor, mask: Tensor) -> int:
        """Return the image's means and the comparison, per image; products are counted as the unit's own layers."""
        return images[0].numel() + mask[0].numel()


__all__ = ["ChannelUnit"]
