"""What a machine makes of the zeros in a weight: the contract that the granularities fulfil.

Every phase of a layer is a grid of weight positions of shape (rows axis, lanes axis, kernel positions), cut into
tiles of ``Tile.rows`` x ``Tile.lanes`` at one kernel position. A dense machine spends one *pass* on each tile.

    phase   rows axis   lanes axis   a pass is repeated for
    FP      K outputs   C inputs     every group of pixels; lanes are summed over
    BP      C inputs    K outputs    every group of pixels; lanes are summed over
    WU      C inputs    K outputs    every slice of the sum over pixels; each position is an output

A *strip* is a row of tiles: one group of rows with everything along the lanes axis.
"""

import abc
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Shape = tuple[int, int, int]  # rows axis, lanes axis, kernel positions


def ceil_div(value: int, by: int) -> int:
    """Return value / by, rounded up."""
    return -(-value // by)


@dataclass(frozen=True, slots=True)
class Tile:
    """Weight positions that one pass covers, all in lock step."""

    rows: int
    lanes: int

    def count(self, shape: Shape) -> int:
        """Return the tiles of a dense grid; those at the edge count whole."""
        return ceil_div(shape[0], self.rows) * ceil_div(shape[1], self.lanes) * shape[2]


@dataclass(frozen=True, slots=True)
class Work:
    """What remains of a grid.

    Attributes:
        passes: tile passes; a whole number from a mask, an expectation from a density.
        positions: weight positions that are computed, zeros that could not be skipped included.
    """

    passes: float
    positions: float

    def __add__(self, other: "Work") -> "Work":
        return Work(self.passes + other.passes, self.positions + other.positions)


class Skipping(abc.ABC):
    """How a machine skips zero weights. Immutable."""

    @abc.abstractmethod
    def measure(self, mask: Bools, tile: Tile) -> Work:
        """Return the work that a real mask of shape (rows axis, lanes axis, kernel positions) leaves.

        Raises:
            HardwareError: if the mask does not divide into this machine's shapes.
        """

    @abc.abstractmethod
    def expect(self, shape: Shape, density: float, tile: Tile) -> Work:
        """Return the expected work under a random mask of this machine's own kind, as dense as ``density``."""

    @abc.abstractmethod
    def transposed(self) -> "Skipping":
        """Return what works on the transposed grid of BP."""

    @abc.abstractmethod
    def for_outputs(self) -> "Skipping":
        """Return what works on the transposed grid of WU, where the positions are results."""


@dataclass(frozen=True, slots=True)
class Nothing(Skipping):
    """Every position is computed."""

    def __str__(self) -> str:
        """Return what is said of it below a table."""
        return "nothing"

    def measure(self, mask: Bools, tile: Tile) -> Work:
        """Return the dense work."""
        a, b, kernel = mask.shape
        return self.expect((a, b, kernel), 1.0, tile)

    def expect(self, shape: Shape, density: float, tile: Tile) -> Work:  # noqa: ARG002 (dense whatever it is)
        """Return the dense work."""
        return Work(tile.count(shape), shape[0] * shape[1] * shape[2])

    def transposed(self) -> Self:
        """Return itself."""
        return self

    def for_outputs(self) -> Self:
        """Return itself."""
        return self


def padded(mask: Bools, rows: int, lanes: int) -> Bools:
    """Return a (rows axis, lanes axis, kernel positions) array, filled up with False to whole tiles."""
    grow = (-mask.shape[0] % rows, -mask.shape[1] % lanes)
    return np.pad(mask, ((0, grow[0]), (0, grow[1]), (0, 0))) if any(grow) else mask


def chunk_sizes(total: int, chunk: int) -> Ints:
    """Return the sizes of the pieces of an axis of ``total`` entries, all ``chunk`` but perhaps the last."""
    return np.minimum(chunk, total - np.arange(0, total, chunk))
