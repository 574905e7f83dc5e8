"""What an encoder makes of images."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

BATCH = 64  # images of one forward pass; changes no number


@torch.no_grad()
def features(
    encoder: nn.Module, images: Tensor, *, normalise: Callable[[Tensor], Tensor], batch: int = BATCH
) -> Tensor:
    """Return float32 features ``[N, F]`` of uint8 images ``[N, 3, H, W]``, in evaluation mode."""
    encoder.eval()
    device = next(encoder.parameters()).device
    parts = [encoder(normalise(part.to(device))).float().cpu() for part in images.split(batch)]
    return torch.cat(parts)
