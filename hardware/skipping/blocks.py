"""Block sparsity: zeros come as rectangles of output x input channels at one kernel position."""

from dataclasses import dataclass

import numpy as np

from hardware.checks import HardwareError, at_least
from hardware.skipping.base import Bools, Ints, Shape, Skipping, Tile, Work, ceil_div, chunk_sizes, padded
from hardware.skipping.chance import binomial, largest


@dataclass(frozen=True, slots=True)
class Blocks(Skipping):
    """Blocks of ``rows`` output x ``columns`` input channels at one kernel position.

    Without compaction a tile is skipped if and only if all its weights are zero. With compaction the non-zero
    blocks along the lanes axis close ranks, row by row; the rows of a strip wait for the fullest one:
    ``ceil(max over rows of non-zero blocks x block width / lanes)`` passes per strip and kernel position.

    Source: ours; block sizes after Kolala Venkataramanaiah et al. (precursor code, ``Conv2d_TD``). Within a single
    tile compaction could never help (it takes one pass or none), so ranks close along the whole strip.

    Attributes:
        rows: output channels of a block.
        columns: input channels of a block.
        compacts: non-zero blocks close ranks.
        pads: channels that do not divide are filled up with zeros; otherwise they are refused.
    """

    rows: int
    columns: int
    compacts: bool
    pads: bool

    def __post_init__(self) -> None:
        at_least(1, rows=self.rows, columns=self.columns)

    def __str__(self) -> str:
        """Return what is said of it below a table."""
        packed = ", which close ranks" if self.compacts else ""
        return f"zero blocks of {self.rows} x {self.columns} weights{packed}"

    def measure(self, mask: Bools, tile: Tile) -> Work:
        """Return the work of the real blocks."""
        a, b, _ = mask.shape
        self._check(a, b)
        return self._compacted(mask, tile) if self.compacts else self._skipped(mask, tile)

    def expect(self, shape: Shape, density: float, tile: Tile) -> Work:
        """Return the expected work if each block is kept with probability ``density``, independently."""
        a, b, kernel = shape
        self._check(a, b)
        touched = _touched(a, tile.rows, self.rows)
        if not self.compacts:
            blocks = np.multiply.outer(touched, _touched(b, tile.lanes, self.columns))
            full = 1.0 - (1.0 - density) ** blocks
            area = np.multiply.outer(chunk_sizes(a, tile.rows), chunk_sizes(b, tile.lanes))
            return Work(kernel * float(full.sum()), kernel * float((full * area).sum()))
        # Kept blocks in a row, without and with the last one, which may be narrower: ordered by length.
        last = (b - 1) % self.columns + 1
        pmf = np.multiply.outer(binomial(ceil_div(b, self.columns) - 1, density), [1.0 - density, density]).reshape(-1)
        lengths = np.add.outer(np.arange(len(pmf) // 2) * self.columns, [0, last]).reshape(-1)
        passes = -(-lengths // tile.lanes)
        heights, strips = np.unique(touched, return_counts=True)
        each = [float(passes @ largest(pmf, int(height))) for height in heights]
        return Work(kernel * float(strips @ each), kernel * a * b * density)

    def transposed(self) -> "Blocks":
        """Return the transposed blocks: on or off as one, so as useful as before."""
        return Blocks(self.columns, self.rows, self.compacts, self.pads)

    def for_outputs(self) -> "Blocks":
        """Return the transposed blocks: the outputs of a zero block need not be computed."""
        return self.transposed()

    def _skipped(self, mask: Bools, tile: Tile) -> Work:
        whole = padded(mask, tile.rows, tile.lanes)
        strips, columns = whole.shape[0] // tile.rows, whole.shape[1] // tile.lanes
        full = np.any(whole.reshape(strips, tile.rows, columns, tile.lanes, -1), axis=(1, 3))
        sizes = (chunk_sizes(mask.shape[0], tile.rows), chunk_sizes(mask.shape[1], tile.lanes))
        return Work(int(np.count_nonzero(full)), int(np.einsum("i,j,ijk->", *sizes, full)))

    def _compacted(self, mask: Bools, tile: Tile) -> Work:
        a, b, kernel = mask.shape
        whole = padded(mask, self.rows, self.columns)
        bands, columns = whole.shape[0] // self.rows, whole.shape[1] // self.columns
        touched = np.any(whole.reshape(bands, self.rows, columns * self.columns, kernel), axis=1)  # an axis at a time:
        full = np.any(touched.reshape(bands, columns, self.columns, kernel), axis=2)  # much faster than both at once
        widths = chunk_sizes(b, self.columns)
        lengths = np.repeat(np.einsum("j,ijk->ik", widths, full), self.rows, axis=0)[:a]
        starts = np.arange(0, a, tile.rows)
        passes = -(-np.maximum.reduceat(lengths, starts, axis=0) // tile.lanes)
        return Work(int(passes.sum()), int(lengths.sum()))

    def _check(self, a: int, b: int) -> None:
        if not self.pads and (a % self.rows or b % self.columns):
            raise HardwareError(
                f"{a} x {b} channels do not divide into blocks of {self.rows} x {self.columns}. Leave this layer "
                "dense (give no mask), choose other blocks, or set skipping.pads = true."
            )


def _touched(total: int, chunk: int, block: int) -> Ints:
    """Return how many blocks each tile touches along one axis."""
    starts = np.arange(0, total, chunk)
    return (starts + chunk_sizes(total, chunk) - 1) // block - starts // block + 1
