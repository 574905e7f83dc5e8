"""What an encoder makes of images."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.errors import UserError

BATCH = 64  # images of one forward pass; changes no number


class NotFiniteError(UserError):
    """There is nothing to score."""


@torch.no_grad()
def features(
    encoder: nn.Module, images: Tensor, *, normalise: Callable[[Tensor], Tensor], batch: int = BATCH
) -> Tensor:
    """Return float32 features ``[N, F]`` of uint8 images ``[N, 3, H, W]``, in evaluation mode."""
    encoder.eval()
    device = next(encoder.parameters()).device
    parts = [encoder(normalise(part.to(device))).float().cpu() for part in images.split(batch)]
    return torch.cat(parts)


def require_finite(numbers: Tensor, what: str) -> None:
    """Refuse numbers that are not finite: a probe would make a score of about chance from them.

    Args:
        numbers: features, or what was fitted on them.
        what: they are, for the message.

    Raises:
        NotFiniteError: one of them is not.
    """
    bad = int((~torch.isfinite(numbers)).sum())
    if bad:
        raise NotFiniteError(
            f"{bad} of {numbers.numel()} numbers of {what} are not finite: the encoder diverged, and gets no score. "
            "Lower the learning rate, or use precision 32-true."
        )
