"""How weights lie in memory: formats with encoder, decoder and byte count.

Values are an array of shape (K, C, R S), any NumPy integer type; its item size is the bytes b of a value. With n
elements of which z are non-zero (README.md, section 5), parts rounded up to whole bytes:

    dense        n b
    bitmap       z b + n / 8                            smaller than dense if z / n < 1 - 1 / (8 b)
    csr, csc     z (b + i) + (rows + 1) p               csc: of the transposed matrix
    n_of_m       z (b + log2(m) / 8)                    z counts n per group, fill-ups included; groups must conform
    n_of_m_mixed the same, dense groups with m values and no index, plus one bit per group
    block        blocks B b + n / B / 8                 a bitmap of blocks of B values; only non-zero ones are stored

The order is channels last, (K, R S, C), so that neighbours along C are neighbours in memory.
"""

import abc
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.checks import HardwareError
from hardware.skipping.base import Bools, Shape

Values = NDArray[Any]


def whole_bytes(bits: float) -> int:
    """Return the bytes that hold so many bits; expectations are rounded up too."""
    return math.ceil(bits / 8)


class Format(abc.ABC):
    """A storage format. Immutable. ``encode`` returns exactly ``size`` bytes."""

    @abc.abstractmethod
    def encode(self, values: Values) -> bytes:
        """Return the stored bytes of (K, C, R S) values.

        Raises:
            HardwareError: if the zeros do not fit the format.
        """

    @abc.abstractmethod
    def decode(self, stored: bytes, shape: Shape, dtype: np.dtype[Any]) -> Values:
        """Return the values of that shape and type."""

    @abc.abstractmethod
    def size(self, mask: Bools, value_bytes: int) -> tuple[int, int]:
        """Return (bytes of values, bytes of metadata) for a mask of shape (K, C, R S).

        Raises:
            HardwareError: as ``encode``.
        """

    @abc.abstractmethod
    def expected_size(self, shape: Shape, density: float, value_bytes: int) -> tuple[int, int]:
        """Return the same for a random mask of the format's own kind."""


@dataclass(frozen=True, slots=True)
class Dense(Format):
    """Every value, no metadata."""

    def encode(self, values: Values) -> bytes:
        """Return all values."""
        return bytes(channels_last(values).tobytes())

    def decode(self, stored: bytes, shape: Shape, dtype: np.dtype[Any]) -> Values:
        """Return all values."""
        return channels_first(np.frombuffer(stored, dtype), shape)

    def size(self, mask: Bools, value_bytes: int) -> tuple[int, int]:
        """Return n b."""
        return mask.size * value_bytes, 0

    def expected_size(self, shape: Shape, density: float, value_bytes: int) -> tuple[int, int]:  # noqa: ARG002
        """Return n b."""
        return math.prod(shape) * value_bytes, 0


@dataclass(frozen=True, slots=True)
class Bitmap(Format):
    """One bit per element, then the non-zero values."""

    def encode(self, values: Values) -> bytes:
        """Return bitmap and values."""
        flat = channels_last(values).reshape(-1)
        return bytes(np.packbits(flat != 0).tobytes() + flat[flat != 0].tobytes())

    def decode(self, stored: bytes, shape: Shape, dtype: np.dtype[Any]) -> Values:
        """Return the values."""
        n = math.prod(shape)
        kept, rest = bits_of(stored, n), stored[whole_bytes(n) :]
        flat = np.zeros(n, dtype)
        flat[kept] = np.frombuffer(rest, dtype)
        return channels_first(flat, shape)

    def size(self, mask: Bools, value_bytes: int) -> tuple[int, int]:
        """Return z b and n / 8."""
        return int(np.count_nonzero(mask)) * value_bytes, whole_bytes(mask.size)

    def expected_size(self, shape: Shape, density: float, value_bytes: int) -> tuple[int, int]:
        """Return z b and n / 8."""
        n = math.prod(shape)
        return math.ceil(n * density) * value_bytes, whole_bytes(n)


@dataclass(frozen=True, slots=True)
class Csr(Format):
    """Compressed rows of the matrix K x (R S C), or, transposed, compressed columns.

    Attributes:
        index_bytes: i, of the position within a row.
        pointer_bytes: p, of the start of a row; one more than rows.
        is_transposed: CSC.
    """

    index_bytes: int
    pointer_bytes: int
    is_transposed: bool

    def __post_init__(self) -> None:
        for name, value in (("index_bytes", self.index_bytes), ("pointer_bytes", self.pointer_bytes)):
            if value not in {1, 2, 4, 8}:
                raise HardwareError(f"{name} is {value}; choose 1, 2, 4 or 8.")

    def encode(self, values: Values) -> bytes:
        """Return pointers, indices and values."""
        matrix = self._matrix(values)
        rows, columns = np.nonzero(matrix)
        self._check(matrix.shape, len(rows))
        pointers = np.searchsorted(rows, np.arange(matrix.shape[0] + 1))
        return b"".join(
            (
                pointers.astype(f"u{self.pointer_bytes}").tobytes(),
                columns.astype(f"u{self.index_bytes}").tobytes(),
                matrix[rows, columns].tobytes(),
            )
        )

    def decode(self, stored: bytes, shape: Shape, dtype: np.dtype[Any]) -> Values:
        """Return the values."""
        matrix = np.zeros(self._matrix_shape(shape), dtype)
        pointers = np.frombuffer(stored, f"u{self.pointer_bytes}", len(matrix) + 1).astype(np.int64)
        z, start = int(pointers[-1]), len(pointers) * self.pointer_bytes
        columns = np.frombuffer(stored, f"u{self.index_bytes}", z, start)
        rows = np.repeat(np.arange(len(matrix)), np.diff(pointers))
        matrix[rows, columns] = np.frombuffer(stored, dtype, z, start + columns.nbytes)
        return channels_first((matrix.T if self.is_transposed else matrix).reshape(-1), shape)

    def size(self, mask: Bools, value_bytes: int) -> tuple[int, int]:
        """Return z b, and z i + (rows + 1) p."""
        k, c, kernel = mask.shape
        return self._size((k, c, kernel), int(np.count_nonzero(mask)), value_bytes)

    def expected_size(self, shape: Shape, density: float, value_bytes: int) -> tuple[int, int]:
        """Return z b, and z i + (rows + 1) p."""
        return self._size(shape, math.ceil(math.prod(shape) * density), value_bytes)

    def _size(self, shape: Shape, ones: int, value_bytes: int) -> tuple[int, int]:
        matrix = self._matrix_shape(shape)
        self._check(matrix, ones)
        return ones * value_bytes, ones * self.index_bytes + (matrix[0] + 1) * self.pointer_bytes

    def _matrix_shape(self, shape: Shape) -> tuple[int, int]:
        rows, columns = shape[0], shape[1] * shape[2]
        return (columns, rows) if self.is_transposed else (rows, columns)

    def _matrix(self, values: Values) -> Values:
        matrix = channels_last(values).reshape(values.shape[0], -1)
        return matrix.T if self.is_transposed else matrix

    def _check(self, shape: tuple[int, ...], ones: int) -> None:
        if shape[1] > 256**self.index_bytes or ones >= 256**self.pointer_bytes:
            raise HardwareError(
                f"{shape[1]} columns with {ones} non-zeros do not fit an index of {self.index_bytes} and a pointer "
                f"of {self.pointer_bytes} bytes. Raise format.index_bytes or format.pointer_bytes."
            )


def channels_last(values: Values) -> Values:
    """Return (K, C, R S) values in the order of memory, (K, R S, C)."""
    return np.ascontiguousarray(values.transpose(0, 2, 1))


def channels_first(flat: Values, shape: Shape) -> Values:
    """Return values in the order of memory as (K, C, R S)."""
    k, c, kernel = shape
    return np.asarray(flat.reshape(k, kernel, c).transpose(0, 2, 1))


def bits_of(stored: bytes, count: int) -> Bools:
    """Return the first ``count`` bits."""
    return np.unpackbits(np.frombuffer(stored, np.uint8, whole_bytes(count)), count=count).astype(np.bool_)
