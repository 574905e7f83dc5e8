"""A convolution whose output pixels a mask opens and closes."""

from collections import deque

import torch.distributed
from torch import Tensor, nn
from torch.nn import functional

from methods.gating.layer import Gated
from methods.gating.mask_unit import MaskUnit


class MaskedConv2d(Gated):
    """A convolution of a residual block, needed only where the block's mask keeps a pixel or, before the last, near it.

    The block's output is masked behind its last normalisation. What earlier convolutions give outside the pixels that
    the next one reads reaches no kept pixel, so that it is computed here but counts as skipped.

    Args:
        conv: 3x3.
        normalisation: what stood behind the block's last convolution; else ``None``.
        unit: decides, in the block's first convolution; else ``None``.
        read: where the block's mask is found; ``None`` for the first.
        written: where it is left for the next; ``None`` for the last.
        wider: how many gated convolutions follow in the block: so often the mask is widened by a pixel.

    Attributes:
        is_bypassed: true computes the dense convolution and decides nothing.
        noise: of the training passes; ``None``: off.
        shares: the batch's executed share, of each training pass since they were asked for.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        normalisation: nn.Module | None,
        unit: MaskUnit | None,
        *,
        read: deque[Tensor] | None,
        written: deque[Tensor] | None,
        wider: int,
    ) -> None:
        super().__init__(conv)
        self.normalisation = normalisation
        self.unit = unit
        self.is_bypassed = False
        self.noise: torch.Generator | None = None
        self.shares: list[Tensor] = []
        self._read, self._written, self._wider = read, written, wider

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[N, out_channels, H', W']``; of the block's last convolution normalised and masked."""
        full: Tensor = self.conv(images)
        if self.normalisation is not None:
            full = self.normalisation(full)
        if self.is_bypassed:
            on = torch.ones_like(full[:, :1])
            self.note(on, lambda: on.mean((1, 2, 3)), overhead_macs=0)
            return full
        mask, overhead = self._mask(images)
        near = mask
        for _ in range(self._wider):
            near = functional.max_pool2d(near.detach(), 3, stride=1, padding=1)
            overhead += 9 * near[0].numel()
        self.note(near, lambda: near.detach().mean((1, 2, 3)), overhead_macs=overhead)
        if self.training and torch.is_grad_enabled():
            self.shares.append(near.mean())
        if self._written is not None:
            self._written.append(mask)
        return full if self.normalisation is None else full * mask

    def _mask(self, images: Tensor) -> tuple[Tensor, int]:
        """Return the block's mask, and the operations to find it."""
        if self._read is not None:
            return self._read.popleft(), 0
        assert self.unit is not None
        mask = self.unit(images, self.noise)
        return mask, self.unit.overhead_macs(images, mask)
