"""Storage formats of structured zeros: N:M groups and blocks. Formulas stand in ``compression.py``."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardware.checks import HardwareError, at_least
from hardware.skipping.base import Bools, Shape
from hardware.skipping.n_of_m import check_pattern, dense_share, grouped
from hardware.storage.formats import Format, Values, bits_of, channels_first, channels_last, whole_bytes


@dataclass(frozen=True, slots=True)
class NofMValues(Format):
    """N values and N positions per group; groups with fewer are filled up with zeros.

    Attributes:
        n: kept at most ...
        m: ... of so many along the input channels.
        is_mixed: a bit per group says whether it is dense instead; otherwise every group must conform.
    """

    n: int
    m: int
    is_mixed: bool

    def __post_init__(self) -> None:
        check_pattern(self.n, self.m)
        if self.m > 256:
            raise HardwareError(f"m is {self.m}; positions within a group are bytes here, so m is at most 256.")

    def encode(self, values: Values) -> bytes:
        """Return flags (if mixed), positions and values of exact groups, then dense groups."""
        full = self._too_full(values != 0)
        groups = channels_last(values).reshape(-1, self.m)
        exact, dense = groups[~full], groups[full]
        order = np.argsort(exact == 0, axis=1, kind="stable")[:, : self.n]
        bits = np.unpackbits(order.astype(np.uint8)[..., None], axis=2, count=None)[:, :, 8 - self._index_bits :]
        flags = np.packbits(full).tobytes() if self.is_mixed else b""
        kept = np.take_along_axis(exact, order, axis=1)
        return flags + np.packbits(bits).tobytes() + kept.tobytes() + dense.tobytes()

    def decode(self, stored: bytes, shape: Shape, dtype: np.dtype[Any]) -> Values:
        """Return the values."""
        groups = np.zeros((math.prod(shape) // self.m, self.m), dtype)
        full, rest = np.zeros(len(groups), np.bool_), stored
        if self.is_mixed:
            full, rest = bits_of(stored, len(groups)), stored[whole_bytes(len(groups)) :]
        stored_exact = int(np.count_nonzero(~full)) * self.n
        bits = bits_of(rest, stored_exact * self._index_bits).reshape(-1, self.n, self._index_bits)
        order = bits @ (1 << np.arange(self._index_bits)[::-1])
        values = np.frombuffer(rest, dtype, offset=whole_bytes(stored_exact * self._index_bits))
        exact = np.zeros((len(order), self.m), dtype)
        np.put_along_axis(exact, order, values[:stored_exact].reshape(-1, self.n), axis=1)
        groups[~full] = exact
        groups[full] = values[stored_exact:].reshape(-1, self.m)
        return channels_first(groups.reshape(-1), shape)

    def size(self, mask: Bools, value_bytes: int) -> tuple[int, int]:
        """Return the stored values and the bits of positions and flags."""
        full = self._too_full(mask)
        return self._size(full.size, int(np.count_nonzero(full)), value_bytes)

    def expected_size(self, shape: Shape, density: float, value_bytes: int) -> tuple[int, int]:
        """Return the same for a mixture of dense and exact groups."""
        groups = grouped(np.zeros((1, shape[1], 1), np.bool_), self.m).size * shape[0] * shape[2]
        full = math.ceil(groups * dense_share(self.n, self.m, density))
        self._refuse(full, groups)
        return self._size(groups, full, value_bytes)

    @property
    def _index_bits(self) -> int:
        return (self.m - 1).bit_length()

    def _size(self, groups: int, full: int, value_bytes: int) -> tuple[int, int]:
        stored = self.n * (groups - full)
        flags = whole_bytes(groups) if self.is_mixed else 0
        return (stored + self.m * full) * value_bytes, whole_bytes(stored * self._index_bits) + flags

    def _too_full(self, mask: Bools) -> Bools:
        full = np.swapaxes(grouped(mask, self.m) > self.n, 1, 2).reshape(-1)
        self._refuse(int(np.count_nonzero(full)), full.size)
        return full

    def _refuse(self, full: int, groups: int) -> None:
        if full and not self.is_mixed:
            raise HardwareError(
                f"{full} of {groups} groups hold more than {self.n} of {self.m}: format n_of_m cannot store them. "
                "Make the mask strict, or choose format.kind = 'n_of_m_mixed' or 'bitmap'."
            )


@dataclass(frozen=True, slots=True)
class BlockValues(Format):
    """One bit per block of ``rows`` outputs x ``columns`` inputs at a kernel position, then the non-zero blocks.

    Channels that do not divide are filled up with zeros, which are stored.
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        at_least(1, rows=self.rows, columns=self.columns)

    def encode(self, values: Values) -> bytes:
        """Return bitmap and blocks."""
        blocks = self._blocks(values)
        full = blocks.any(axis=1)
        return np.packbits(full).tobytes() + blocks[full].tobytes()

    def decode(self, stored: bytes, shape: Shape, dtype: np.dtype[Any]) -> Values:
        """Return the values."""
        k, c, kernel = shape
        bands, columns = -(-k // self.rows), -(-c // self.columns)
        blocks = np.zeros((bands * columns * kernel, self.rows * self.columns), dtype)
        full = bits_of(stored, len(blocks))
        blocks[full] = np.frombuffer(stored, dtype, offset=whole_bytes(len(blocks))).reshape(-1, blocks.shape[1])
        grid = blocks.reshape(bands, columns, kernel, self.rows, self.columns).transpose(0, 3, 1, 4, 2)
        return grid.reshape(bands * self.rows, columns * self.columns, kernel)[:k, :c]

    def size(self, mask: Bools, value_bytes: int) -> tuple[int, int]:
        """Return the stored blocks and a bit for each block."""
        full = self._blocks(mask).any(axis=1)
        return int(np.count_nonzero(full)) * self.rows * self.columns * value_bytes, whole_bytes(full.size)

    def expected_size(self, shape: Shape, density: float, value_bytes: int) -> tuple[int, int]:
        """Return the same if each block is kept with probability ``density``."""
        blocks = -(-shape[0] // self.rows) * -(-shape[1] // self.columns) * shape[2]
        return math.ceil(blocks * density) * self.rows * self.columns * value_bytes, whole_bytes(blocks)

    def _blocks(self, values: Values) -> Values:
        k, c, kernel = values.shape
        whole = np.pad(values, ((0, -k % self.rows), (0, -c % self.columns), (0, 0)))
        grid = whole.reshape(-1, self.rows, whole.shape[1] // self.columns, self.columns, kernel)
        return grid.transpose(0, 2, 4, 1, 3).reshape(-1, self.rows * self.columns)
