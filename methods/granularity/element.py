"""Single weights."""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.granularity.base import WholeUnits


@dataclass(frozen=True, slots=True)
class Elementwise(WholeUnits):
    """Every single weight may go."""

    @property
    def name(self) -> str:
        """``element``."""
        return "element"

    @property
    def unit(self) -> int:
        """1."""
        return 1

    def fits(self, shape: torch.Size) -> bool:  # noqa: ARG002
        """Return True: any shape does."""
        return True

    def size(self, shape: torch.Size) -> int:  # noqa: ARG002
        """Return 1."""
        return 1

    def pooled(self, score: Tensor) -> Tensor:
        """Return the scores themselves."""
        return score.detach()

    def spread(self, units: Tensor, shape: torch.Size) -> Tensor:
        """Return the entries themselves."""
        return units.reshape(shape).contiguous()
