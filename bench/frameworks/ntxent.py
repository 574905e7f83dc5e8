"""NT-Xent that keeps no accelerator waiting."""

import torch
from lightly.loss import NTXentLoss
from lightly.utils import dist
from torch import Tensor
from torch.nn import functional


class NTXent(NTXentLoss):  # type: ignore[misc]  # Lightly is untyped here
    """Lightly's loss over the images of a batch, for SimCLR.

    Lightly leaves out the similarity of an image with itself by a boolean mask. How many entries a mask keeps only the
    device knows, so that the host waits for it, twice a step. On the CPU, where nothing waits, this is Lightly's loss
    itself; elsewhere the same sums without masks.
    """

    def forward(self, out0: Tensor, out1: Tensor) -> Tensor:
        """Return the loss of two views' embeddings ``[B, D]``."""
        if out0.device.type == "cpu":
            loss: Tensor = super().forward(out0, out1)
            return loss
        return self.without_masks(out0, out1)

    def without_masks(self, out0: Tensor, out1: Tensor) -> Tensor:
        """Return the same loss on any device."""
        views = [functional.normalize(each, dim=1) for each in (out0, out1)]
        is_gathered = self.gather_distributed and dist.world_size() > 1
        everywhere = [torch.cat(dist.gather(each), 0) if is_gathered else each for each in views]
        count = len(out0)
        first = dist.rank() * count if is_gathered else 0  # column of this rank's first image
        rows = []
        for own, same, other in zip(views, everywhere, reversed(everywhere), strict=True):
            across, within = own @ other.T, without_itself(own @ same.T, first)
            rows.append(torch.cat([across, within], dim=1) / self.temperature)
        labels = torch.arange(first, first + count, device=out0.device)
        return functional.cross_entropy(torch.cat(rows), labels.repeat(2))


def without_itself(similarities: Tensor, first: int) -> Tensor:
    """Return similarities ``[B, M]`` without those of each image with itself: ``[B, M - 1]``, in their order.

    Args:
        similarities: of B images with M, among which they are.
        first: the column of the first image; the others follow it.
    """
    count = len(similarities)
    left, own, right = similarities.split([first, count, similarities.shape[1] - first - count], dim=1)
    # Of B x B entries in a row, the diagonal is the first and every (B + 1)-th after it.
    rest = own.flatten()[1:].view(count - 1, count + 1)[:, :-1].reshape(count, count - 1)
    return torch.cat([left, rest, right], dim=1)
