"""The small network that decides, pixel by pixel, what a block computes."""

import torch.distributed
from torch import Tensor, nn

STATISTICS = 0.1  # momentum of the running spread of logits, that of batch normalisation


class MaskUnit(nn.Module):
    """A logit per output pixel of a convolution, from the same window plus a term for the whole image.

    Attributes:
        aim: scalar buffer: a pixel is kept if its logit is at least this; 0 for the authors.
        moments: float64 ``[2]`` buffer: running means of the logits and of their squares.
    """

    aim: Tensor
    moments: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        stride = (conv.stride[0], conv.stride[1])
        self.window = nn.Conv2d(conv.in_channels, 1, 3, stride=stride, padding=1)
        self.image = nn.Linear(conv.in_channels, 1)
        self.register_buffer("aim", torch.zeros(()))
        self.register_buffer("moments", torch.tensor([0.0, 1.0], dtype=torch.float64))

    def forward(self, images: Tensor, noise: torch.Generator | None) -> Tensor:
        """Return a mask ``[N, 1, H', W']``, 0. or 1.; backwards the sigmoid that stands in for the step.

        Args:
            images: ``[N, C, H, W]``.
            noise: of the logistic noise in training, which is the difference of two Gumbel variables; ``None``: off.
        """
        logits: Tensor = self.window(images) + self.image(images.mean((2, 3)))[..., None, None]
        margin = logits - self.aim
        if not self.training:
            return (margin >= 0).to(margin.dtype)
        with torch.no_grad():
            found = torch.stack([logits.double().mean(), logits.double().square().mean()])
            self.moments.lerp_(found, STATISTICS)
        if noise is not None:
            uniform = torch.rand(margin.shape, generator=noise).clamp(1e-6, 1 - 1e-6)
            margin = margin + torch.logit(uniform).to(margin.device)
        soft = torch.sigmoid(margin)
        return (margin >= 0).to(soft.dtype) + (soft - soft.detach())  # in this order: 0. or 1. exactly

    @staticmethod
    def overhead_macs(images: Tensor, mask: Tensor) -> int:
        """Return the image's means, the sum of the two terms and the comparison, per image."""
        return images[0].numel() + 2 * mask[0].numel()
