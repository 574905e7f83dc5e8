"""Element-wise sparsity: every multiplier skips its own zeros, and all wait for the fullest queue."""

from collections import Counter
from dataclasses import dataclass
from typing import Self

import numpy as np

from hardware.checks import HardwareError, at_least
from hardware.skipping.base import Bools, Shape, Skipping, Tile, Work, ceil_div, chunk_sizes, padded
from hardware.skipping.chance import expected_largest


@dataclass(frozen=True, slots=True)
class Elements(Skipping):
    """Each of the rows x lanes multipliers has a queue with its weights of up to ``barrier_tiles`` tiles of a strip.

    A barrier window takes as many passes as the longest queue has non-zeros. Tiles of a strip are queued kernel
    position by kernel position, and along the lanes axis within one. Windows never span two strips.

    Source: lock-step lanes as in README.md, section 4; balancing after Yang et al. 2020 (Procrustes, arXiv 2009.10976).

    Attributes:
        barrier_tiles: tiles between two barriers: T, the weights of a lane per window.
        sync_cycles: lost at the barrier of each window that has work, in passes.
        work_stealing_percent: 0 waits for the longest queue, 100 balances perfectly to the mean fill of the queues;
            linear between, rounded up per window. Multipliers beyond the edge of a layer steal nothing.
    """

    barrier_tiles: int
    sync_cycles: int
    work_stealing_percent: int

    def __post_init__(self) -> None:
        at_least(1, barrier_tiles=self.barrier_tiles)
        at_least(0, sync_cycles=self.sync_cycles)
        if not 0 <= self.work_stealing_percent <= 100:
            raise HardwareError(f"work_stealing_percent is {self.work_stealing_percent}; it must lie in 0 ... 100.")

    def __str__(self) -> str:
        """Return what is said of it below a table."""
        return (
            f"single zero weights, {self.barrier_tiles} tiles between barriers, {self.sync_cycles} passes lost at each,"
            f" {self.work_stealing_percent} % of the imbalance stolen"
        )

    def measure(self, mask: Bools, tile: Tile) -> Work:
        """Return the work of the real non-zeros."""
        a, b, kernel = mask.shape
        whole = padded(mask, tile.rows, tile.lanes)
        strips, columns = whole.shape[0] // tile.rows, whole.shape[1] // tile.lanes
        queues = whole.reshape(strips, tile.rows, columns, tile.lanes, kernel).transpose(0, 4, 2, 1, 3)
        queues = queues.reshape(strips, kernel * columns, tile.rows * tile.lanes)
        starts = np.arange(0, kernel * columns, self.barrier_tiles)
        counts = np.add.reduceat(queues, starts, axis=1, dtype=np.int32)  # (strips, windows, multipliers)
        longest, total = counts.max(axis=2).astype(np.int64), counts.sum(axis=2, dtype=np.int64)
        tiles = np.diff(np.append(starts, kernel * columns))
        widths = np.add.reduceat(np.tile(chunk_sizes(b, tile.lanes), kernel), starts)
        places = np.multiply.outer(chunk_sizes(a, tile.rows), widths)
        saved = self.work_stealing_percent * np.maximum(0, places * longest - tiles * total)
        passes = -(-(100 * places * longest - saved) // (100 * places))
        return Work(int(passes.sum() + self.sync_cycles * np.count_nonzero(longest)), int(total.sum()))

    def expect(self, shape: Shape, density: float, tile: Tile) -> Work:
        """Return the expected work if each weight is kept with probability ``density``, independently.

        Source: E[max over lanes of Binomial(T, density)], exact (README.md, section 4). Stolen work is not rounded up.
        """
        a, b, kernel = shape
        columns, edge = ceil_div(b, tile.lanes), (b - 1) % tile.lanes + 1
        passes = 0.0
        starts = range(0, kernel * columns, self.barrier_tiles)
        stops = [min(start + self.barrier_tiles, kernel * columns) for start in starts]
        # A window's tiles, and how many of them lie at the edge, where only `edge` lanes own a weight.
        windows = Counter(
            (stop - start, stop // columns - start // columns) for start, stop in zip(starts, stops, strict=True)
        )
        for rows, strips in zip(*np.unique(chunk_sizes(a, tile.rows), return_counts=True), strict=True):
            for (tiles, edges), times in windows.items():
                lanes = ((tiles, int(rows) * edge), (tiles - edges, int(rows) * (tile.lanes - edge)))
                places = sum(draws * copies for draws, copies in lanes)
                longest = expected_largest(lanes, density)
                window = longest - self.work_stealing_percent / 100 * (longest - density * tiles)
                window += self.sync_cycles * (1.0 - (1.0 - density) ** places)
                passes += int(strips) * times * window
        return Work(passes, a * b * kernel * density)

    def transposed(self) -> Self:
        """Return itself; the balance is that of the transposed mask."""
        return self

    def for_outputs(self) -> Self:
        """Return itself: each lane skips the results that are off the mask."""
        return self
