"""What small networks that decide have in common: a threshold, and a hard step that is learnt through a sigmoid."""

import torch
from torch import Tensor, nn

STATISTICS = 0.1  # momentum of the running spread of logits, that of batch normalisation


class DecidingUnit(nn.Module):
    """Decides by logits; a subclass computes these.

    Attributes:
        aim: scalar buffer: what has at least this logit is kept; 0 for the authors of all such units here.
        moments: float64 ``[2]`` buffer: running means of the logits and of their squares.
    """

    aim: Tensor
    moments: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("aim", torch.zeros(()))
        self.register_buffer("moments", torch.tensor([0.0, 1.0], dtype=torch.float64))

    def decided(self, logits: Tensor, noise: torch.Generator | None, *, temperature: float = 1.0) -> Tensor:
        """Return a mask of the logits' shape, 0. or 1.; backwards the sigmoid that stands in for the step.

        Args:
            logits: of any shape.
            noise: of the logistic noise in training, which is the difference of two Gumbel variables; ``None``: off.
                Drawn where the generator is: on the logits' device nothing is copied.
            temperature: of the sigmoid.
        """
        margin = logits - self.aim
        if not self.training:
            return (margin >= 0).to(margin.dtype)
        with torch.no_grad():
            found = torch.stack([logits.double().mean(), logits.double().square().mean()])
            self.moments.lerp_(found, STATISTICS)
        if noise is not None:
            uniform = torch.rand(margin.shape, generator=noise, device=noise.device).clamp(1e-6, 1 - 1e-6)
            margin = margin + torch.logit(uniform).to(margin.device)
        soft = torch.sigmoid(margin / temperature)
        return (margin >= 0).to(soft.dtype) + (soft - soft.detach())  # in this order: 0. or 1. exactly
