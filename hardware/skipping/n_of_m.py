"""N:M sparsity: at most N of every M neighbouring channels, at a fixed other channel and kernel position."""

from dataclasses import dataclass

import numpy as np

from hardware.checks import HardwareError
from hardware.skipping.base import Bools, Ints, Nothing, Shape, Skipping, Tile, Work, ceil_div, chunk_sizes, padded
from hardware.skipping.chance import Vector, binomial, largest


def check_pattern(n: int, m: int) -> None:
    """Demand 1 <= n < m."""
    if not 1 <= n < m:
        raise HardwareError(f"{n}:{m} is no N:M pattern: it must hold that 1 <= n < m.")


def grouped(mask: Bools, m: int) -> Ints:
    """Return the non-zeros of each group of ``m`` along the lanes axis. Shape (rows axis, groups, kernel)."""
    a, b, kernel = mask.shape
    if b % m:
        raise HardwareError(
            f"{b} channels do not divide into groups of {m}. Leave this layer dense (give no mask), or choose "
            "another m."
        )
    return np.asarray(np.count_nonzero(mask.reshape(a, b // m, m, kernel), axis=2))


def dense_share(n: int, m: int, density: float) -> float:
    """Return the share of fully dense groups in a mixture of dense and exact N:M groups, 0 below n / m.

    Source: Meng et al. 2023 (SyncCP), published code: groups are dense or N:M while the density falls.
    """
    return max(0.0, (density - n / m) / (1.0 - n / m))


@dataclass(frozen=True, slots=True)
class NofM(Skipping):
    """Fixed N:M along the summed channels: a conforming tile takes n / m of a pass, any other a whole one.

    Compressed tiles of a strip at one kernel position are packed back to back:
    ``ceil(sum over tiles of (n or m) / m)`` passes. One group too full makes its whole tile dense; with
    ``falls_back_by_lane`` only its row of the tile, and the rows of a strip wait for the slowest.

    Source: ours, after the fixed 2:4 units of Mishra et al. 2021 (arXiv 2104.08378).

    Attributes:
        n: kept at most ...
        m: ... of so many.
        falls_back_by_lane: see above.
        is_transposable: masks are N:M along outputs too, so BP may look for it; otherwise BP is dense.
    """

    n: int
    m: int
    falls_back_by_lane: bool
    is_transposable: bool

    def __post_init__(self) -> None:
        check_pattern(self.n, self.m)

    def __str__(self) -> str:
        """Return what is said of it below a table."""
        both = ", along outputs too" if self.is_transposable else ""
        wait = "row" if self.falls_back_by_lane else "tile"
        return f"{self.n}:{self.m} patterns{both}, a {wait} with a group too full being dense"

    def measure(self, mask: Bools, tile: Tile) -> Work:
        """Return the work of the real groups."""
        a, b, _ = mask.shape
        width = self._groups_per_tile(tile)
        too_full = grouped(mask, self.m) > self.n
        whole = padded(too_full, tile.rows, width)
        strips, columns = whole.shape[0] // tile.rows, whole.shape[1] // width
        dense = whole.reshape(strips, tile.rows, columns, width, -1).any(axis=3)  # of each row of each tile
        area = np.multiply.outer(np.ones(a, np.int64), chunk_sizes(b, tile.lanes))
        if not self.falls_back_by_lane:
            dense = np.broadcast_to(np.any(dense, axis=1, keepdims=True), dense.shape)
        lengths = np.where(dense, self.m, self.n).sum(axis=2).max(axis=1)
        rows_dense = dense.reshape(strips * tile.rows, columns, -1)[:a]
        positions = np.einsum("ij,ijk->", area, np.where(rows_dense, self.m, self.n))
        return Work(int((-(-lengths // self.m)).sum()), float(positions / self.m))

    def expect(self, shape: Shape, density: float, tile: Tile) -> Work:
        """Return the expected work of a random mixture of dense and exact groups."""
        a, b, kernel = shape
        if b % self.m:
            grouped(np.zeros((1, b, 1), np.bool_), self.m)  # raises
        conforming = 1.0 - dense_share(self.n, self.m, density)
        passes = positions = 0.0
        for rows, strips in zip(*np.unique(chunk_sizes(a, tile.rows), return_counts=True), strict=True):
            height = 1 if self.falls_back_by_lane else int(rows)
            widths = chunk_sizes(b, tile.lanes)
            chances: Vector = conforming ** (height * (widths // self.m)).astype(np.float64)
            fast = largest(_conforming_tiles(chances)[::-1], int(rows) // height)[::-1]  # the fewest of the rows
            lengths = len(widths) * self.m - (self.m - self.n) * np.arange(len(fast))
            passes += int(strips) * float(-(-lengths // self.m) @ fast)
            positions += int(strips * rows) * float(widths @ (1.0 - chances * (1.0 - self.n / self.m)))
        return Work(kernel * passes, kernel * positions)

    def transposed(self) -> Skipping:
        """Return itself if transposable, else nothing: groups along inputs do not shorten a sum over outputs."""
        return self if self.is_transposable else Nothing()

    def for_outputs(self) -> "NofMOutputs":
        """Return the skipping of results that are off the mask."""
        return NofMOutputs(self.n, self.m, self.falls_back_by_lane)

    def _groups_per_tile(self, tile: Tile) -> int:
        if tile.lanes % self.m:
            raise HardwareError(f"{tile.lanes} lanes hold no whole groups of {self.m}. Correct array.columns or m.")
        return tile.lanes // self.m


@dataclass(frozen=True, slots=True)
class NofMOutputs(Skipping):
    """Weight gradients of N:M masks, on the grid (inputs, outputs): of each group along inputs, n results.

    Each lane (an output channel) picks its own n of m inputs and scatters the results; the lanes of a tile go on
    together, so one dense group makes the group dense in all of them, or, with fallback, the fullest lane decides.
    Source: ours ("output compression; needs scatter").
    """

    n: int
    m: int
    falls_back_by_lane: bool

    def measure(self, mask: Bools, tile: Tile) -> Work:
        """Return the work of the real groups."""
        too_full = grouped(mask.transpose(1, 0, 2), self.m) > self.n  # (outputs, groups of inputs, kernel)
        whole = padded(too_full, tile.lanes, 1)
        dense = whole.reshape(whole.shape[0] // tile.lanes, tile.lanes, *whole.shape[1:])
        if not self.falls_back_by_lane:
            dense = np.broadcast_to(np.any(dense, axis=1, keepdims=True), dense.shape)
        lengths = np.where(dense, self.m, self.n).sum(axis=2).max(axis=1)
        positions = np.where(dense.reshape(-1, *whole.shape[1:])[: mask.shape[1]], self.m, self.n).sum()
        return Work(int((-(-lengths // tile.rows)).sum()), int(positions))

    def expect(self, shape: Shape, density: float, tile: Tile) -> Work:
        """Return the expected work of a random mixture of dense and exact groups."""
        a, b, kernel = shape
        if a % self.m:
            grouped(np.zeros((1, a, 1), np.bool_), self.m)  # raises
        conforming = 1.0 - dense_share(self.n, self.m, density)
        groups = ceil_div(a, self.m)
        passes = positions = 0.0
        for lanes, strips in zip(*np.unique(chunk_sizes(b, tile.lanes), return_counts=True), strict=True):
            height = 1 if self.falls_back_by_lane else int(lanes)
            chance = conforming**height
            fast = largest(binomial(groups, chance)[::-1], int(lanes) // height)[::-1]
            lengths = groups * self.m - (self.m - self.n) * np.arange(groups + 1)
            passes += int(strips) * float(-(-lengths // tile.rows) @ fast)
            positions += int(strips * lanes) * groups * (self.m - (self.m - self.n) * chance)
        return Work(kernel * passes, kernel * positions)

    def transposed(self) -> Skipping:
        """Return nothing: results have no transposed use."""
        return Nothing()

    def for_outputs(self) -> "NofMOutputs":
        """Return itself."""
        return self


def _conforming_tiles(chances: Vector) -> Vector:
    """Return the distribution of how many tiles of a strip conform; only the last may differ in its chance."""
    alike = binomial(len(chances) - 1, float(chances[0]))
    last = float(chances[-1])
    return np.convolve(alike, [1.0 - last, last])
