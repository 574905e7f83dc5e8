"""Blocks of output x input channels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.granularity.base import WholeUnits


@dataclass(frozen=True, slots=True)
class Block(WholeUnits):
    """Blocks of ``rows`` output x ``columns`` input channels at one kernel position; those on the grid from 0.

    Blocks of all layers compete for one budget, so that ``Block(1, 1)`` is ``Elementwise``. Weights have shape
    (out, in, ...); of a grouped convolution (out, in / groups, ...), where a block is a block of the machine only if
    the outputs of one group divide by ``rows`` too.

    Source: ours. Blocks over (out, in) at each kernel position are those of the SyncCP authors' accelerator code
    (HWEfficientTraining, ``Conv2d_TD``), which drops them below a quantile of mean magnitudes; their structured
    synchronized pruning is an empty stub (deviation 18 in results/deviations.md).
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise ValueError(f"{self.rows} x {self.columns} is no block: it needs a row and a column at least.")

    @property
    def name(self) -> str:
        """For example ``block4x4``."""
        return f"block{self.rows}x{self.columns}"

    @property
    def unit(self) -> int:
        """``rows * columns``."""
        return self.rows * self.columns

    def fits(self, shape: torch.Size) -> bool:
        """Return whether output channels divide by ``rows`` and input channels by ``columns``."""
        return len(shape) >= 2 and shape[0] % self.rows == 0 and shape[1] % self.columns == 0

    def size(self, shape: torch.Size) -> int:
        """Return ``rows * columns``."""
        if not self.fits(shape):
            raise ValueError(
                f"Block({self.rows}, {self.columns}) cannot tile a weight of shape {tuple(shape)}: its output channels "
                f"(dimension 0) must divide by {self.rows}, its input channels (dimension 1) by {self.columns}. "
                "Keep this layer dense, choose another block, or use Elementwise."
            )
        return self.unit

    def pooled(self, score: Tensor) -> Tensor:
        """Return sums of shape (out / rows, in / columns, ...), in float64."""
        self.size(score.shape)
        outputs, inputs, *kernel = score.shape
        tiles = score.detach().reshape(outputs // self.rows, self.rows, inputs // self.columns, self.columns, *kernel)
        return tiles.double().sum(dim=(1, 3))

    def spread(self, units: Tensor, shape: torch.Size) -> Tensor:
        """Repeat each entry over its block."""
        grid = units.reshape(shape[0] // self.rows, shape[1] // self.columns, *shape[2:])
        return grid.repeat_interleave(self.rows, dim=0).repeat_interleave(self.columns, dim=1)
