"""Whole output channels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.granularity.base import WholeUnits


@dataclass(frozen=True, slots=True)
class Filter(WholeUnits):
    """Whole output filters: all weights (in, ...) of one output channel.

    Filters of different layers have different sizes, so each layer keeps the same share of its own, and one filter at
    least: without it the layer would be cut off. Source: light-SSL's ``Slicer`` (solo-learn-sparse), which keeps the
    top share of every layer by L1 norm; ties and rounding are ours. Biases, norms and the inputs of the next layer
    that read a removed filter stay: a mask is of weights.
    """

    @property
    def name(self) -> str:
        """``filter``."""
        return "filter"

    @property
    def unit(self) -> None:
        """None: every layer has filters of another size."""
        return

    def fits(self, shape: torch.Size) -> bool:
        """Return whether there are input channels too."""
        return len(shape) >= 2

    def size(self, shape: torch.Size) -> int:
        """Return the weights of one filter."""
        if not self.fits(shape):
            raise ValueError(f"a weight of shape {tuple(shape)} has no filters: it needs outputs and inputs.")
        return shape.numel() // shape[0]

    def pooled(self, score: Tensor) -> Tensor:
        """Return sums of shape (out,), in float64."""
        self.size(score.shape)
        return score.detach().flatten(1).double().sum(dim=1)

    def spread(self, units: Tensor, shape: torch.Size) -> Tensor:
        """Repeat each entry over its filter."""
        return units.reshape(-1, *(1 for _ in shape[1:])).expand(shape).contiguous()
