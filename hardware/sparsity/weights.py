"""What is known about the zeros of one layer: a density, or the real mask."""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import numpy as np

from hardware.checks import HardwareError, fraction
from hardware.skipping.base import Bools, Nothing, Shape, Skipping, Tile, Work

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Grid:
    """How a phase looks at a weight of shape (K, C, R S)."""

    is_transposed: bool
    is_flattened: bool  # kernel positions join the input channels: for a stem with few of them

    def shape(self, weight: Shape) -> Shape:
        """Return the shape of the grid."""
        outputs, inputs, kernel = weight
        if self.is_flattened:
            inputs, kernel = inputs * kernel, 1
        return (inputs, outputs, kernel) if self.is_transposed else (outputs, inputs, kernel)

    def view(self, mask: Bools) -> Bools:
        """Return the mask in this order. Input channels stay neighbours, so that N:M groups do."""
        if self.is_flattened:
            mask = mask.transpose(0, 2, 1).reshape(mask.shape[0], -1, 1)
        return mask.transpose(1, 0, 2) if self.is_transposed else mask


class Storage(Protocol):
    """What weights need to know of a storage format (``compression.Format``)."""

    def size(self, mask: Bools, value_bytes: int) -> tuple[int, int]:
        """Return (bytes of values, bytes of metadata) for a mask of shape (K, C, R S)."""

    def expected_size(self, shape: Shape, density: float, value_bytes: int) -> tuple[int, int]:
        """Return the same for a random mask."""


class Weights(abc.ABC):
    """What is known about the zeros of one layer."""

    @abc.abstractmethod
    def work(self, skipping: Skipping, grid: Grid, tile: Tile, weight: Shape, groups: int) -> Work:
        """Return the work in one phase, over all groups. ``weight`` is (K, C, R S) of one group."""

    @abc.abstractmethod
    def ones(self, weight: Shape) -> float:
        """Return the non-zero weights of a layer of shape (K, C / groups, R S)."""

    @abc.abstractmethod
    def alive(self, out_channels: int, in_channels: int) -> tuple[int, int]:
        """Return the output and the input channels that have a non-zero weight."""

    @abc.abstractmethod
    def compacted(self) -> "Weights":
        """Return the weights without the dead channels."""

    @abc.abstractmethod
    def living_outputs(self, channels: int) -> Bools:
        """Return which of the output channels have a non-zero weight."""

    @abc.abstractmethod
    def without(self, living_inputs: Bools) -> "Weights":
        """Return the weights once some input channels are gone, because their producer's filters are."""

    @abc.abstractmethod
    def size(self, stored: "Storage", weight: Shape, value_bytes: int) -> tuple[int, int]:
        """Return (bytes of values, bytes of metadata) in memory."""


@dataclass(frozen=True, slots=True)
class Density(Weights):
    """Only averages are known.

    Attributes:
        kept: fraction of non-zero weights among the living channels.
        outputs: fraction of output channels that live. Channels are rounded, half up; above 0, at least one lives.
        inputs: fraction of input channels that live.
    """

    kept: float
    outputs: float = 1.0
    inputs: float = 1.0

    def __post_init__(self) -> None:
        fraction(kept=self.kept, outputs=self.outputs, inputs=self.inputs)

    def work(self, skipping: Skipping, grid: Grid, tile: Tile, weight: Shape, groups: int) -> Work:
        """Return the expected work. Where nobody pruned, nothing is skipped and nothing has to divide.

        Channels that the machine has not removed count as living: where dead ones lie is not known, and zeros are
        skipped in tiles, groups and blocks, not in channels. A mask tells how many of them can be skipped.
        """
        each = _expected(skipping if self.kept < 1.0 else Nothing(), grid.shape(weight), self.kept, tile)
        return Work(each.passes * groups, each.positions * groups)

    def ones(self, weight: Shape) -> float:
        """Return the expected non-zero weights."""
        return self.kept * math.prod(self.alive(*weight[:2])) * weight[2]

    def alive(self, out_channels: int, in_channels: int) -> tuple[int, int]:
        """Return the rounded shares."""
        return _rounded(self.outputs, out_channels), _rounded(self.inputs, in_channels)

    def compacted(self) -> "Density":
        """Return what holds within the living channels."""
        return Density(self.kept)

    def living_outputs(self, channels: int) -> Bools:
        """Return the first ones: which ones live is not known, and does not matter to a density."""
        return np.arange(channels) < self.alive(channels, 0)[0]

    def without(self, living_inputs: Bools) -> "Density":
        """Return the density with that share of living inputs."""
        return Density(self.kept, self.outputs, float(living_inputs.mean()))

    def size(self, stored: Storage, weight: Shape, value_bytes: int) -> tuple[int, int]:
        """Return the expected bytes, with channels as in ``work``. What nobody pruned is stored plainly."""
        if self.kept == 1.0:
            return math.prod(weight) * value_bytes, 0
        return stored.expected_size(weight, self.kept, value_bytes)


def _rounded(share: float, channels: int) -> int:
    return max(1, int(share * channels + 0.5)) if share else 0


@lru_cache(maxsize=4096)
def _expected(skipping: Skipping, shape: Shape, share: float, tile: Tile) -> Work:
    # Both branches and many layers ask the same, and sweeps ask it again and again.
    return skipping.expect(shape, share, tile)


DENSE = Density(1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Mask(Weights):
    """The real mask of a layer: ``kept`` has the shape (K, C / groups, R, S); True where a weight is kept.

    What was counted once is remembered: branches, passes and machines ask the same of millions of weights.
    """

    kept: Bools
    _found: dict[object, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kept.dtype != np.bool_ or self.kept.ndim != 4:
            raise HardwareError(
                f"a mask of {self.kept.dtype} with {self.kept.ndim} dimensions: give booleans of shape "
                "(outputs, inputs / groups, kernel height, kernel width); a linear layer has a 1 x 1 kernel."
            )

    def work(self, skipping: Skipping, grid: Grid, tile: Tile, weight: Shape, groups: int) -> Work:
        """Return the exact work."""
        outputs, inputs, kernel = weight
        if self.kept.size != groups * outputs * inputs * kernel or self.kept.shape[1] != inputs:
            raise HardwareError(
                f"a mask of shape {self.kept.shape} for {groups} x {weight} weights (groups, then outputs, inputs, "
                "kernel positions). Give the mask of this layer."
            )
        each = self.kept.reshape(groups, outputs, inputs, kernel)
        return self._once(
            (skipping, grid, tile, groups),
            lambda: sum((skipping.measure(grid.view(part), tile) for part in each), Work(0, 0)),
        )

    def ones(self, weight: Shape) -> int:  # noqa: ARG002 (the mask knows)
        """Count the non-zero weights."""
        return self._once("ones", lambda: int(np.count_nonzero(self.kept)))

    def alive(self, out_channels: int, in_channels: int) -> tuple[int, int]:  # noqa: ARG002 (the mask knows)
        """Count the channels with a non-zero weight."""
        return int(np.count_nonzero(self._outputs())), int(np.count_nonzero(self._inputs()))

    def compacted(self) -> "Rest":
        """Return what is left without dead channels."""
        return self._once("compacted", lambda: Rest(self))

    def living_outputs(self, channels: int) -> Bools:  # noqa: ARG002 (the mask knows)
        """Return them."""
        return self._outputs()

    def without(self, living_inputs: Bools) -> "Mask":
        """Return the mask with the columns of dead inputs cleared."""
        if len(living_inputs) != self.kept.shape[1]:
            raise HardwareError(
                f"a mask with {self.kept.shape[1]} input channels reads {len(living_inputs)} channels. Give the mask "
                "of this layer."
            )
        return Mask(self.kept & living_inputs[None, :, None, None])

    def size(self, stored: Storage, weight: Shape, value_bytes: int) -> tuple[int, int]:
        """Return the exact bytes."""
        return self._once((stored, value_bytes), lambda: stored.size(self.kept.reshape(weight), value_bytes))

    def _outputs(self) -> Bools:
        return self._once("outputs", lambda: np.asarray(np.any(self.kept.reshape(len(self.kept), -1), axis=1)))

    def _inputs(self) -> Bools:
        # Axis by axis: ten times faster than axes (0, 2, 3) at once.
        return self._once("inputs", lambda: np.asarray(np.any(np.any(self.kept, axis=0), axis=(1, 2))))

    def _once(self, question: object, answer: Callable[[], T]) -> T:
        if question not in self._found:
            self._found[question] = answer()
        found: T = self._found[question]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Rest(Weights):
    """A mask in a layer without its dead channels: a smaller dense layer, or zeros skipped where they lie.

    Nothing moves: if living channels closed ranks, blocks and groups would be cut anew, and a layer with one weight
    less could cost more. So passes, positions and bytes are each the fewer of the two. Both fall with every weight
    that goes, and a layer that lost whole filters and nothing else is the smaller dense one. Source: ours.
    """

    mask: Mask

    def work(self, skipping: Skipping, grid: Grid, tile: Tile, weight: Shape, groups: int) -> Work:
        """Return the fewer of each; ``weight`` is the smaller layer's."""
        outputs, inputs, height, width = self.mask.kept.shape
        in_place = self.mask.work(skipping, grid, tile, (outputs, inputs, height * width), groups)
        dense = DENSE.work(skipping, grid, tile, weight, groups)
        return Work(min(in_place.passes, dense.passes), min(in_place.positions, dense.positions))

    def ones(self, weight: Shape) -> int:
        """Count the non-zero weights."""
        return self.mask.ones(weight)

    def alive(self, out_channels: int, in_channels: int) -> tuple[int, int]:
        """Count the channels with a non-zero weight."""
        return self.mask.alive(out_channels, in_channels)

    def compacted(self) -> "Rest":
        """Return itself."""
        return self

    def living_outputs(self, channels: int) -> Bools:
        """Return all: the dead ones are gone."""
        return np.ones(channels, np.bool_)

    def without(self, living_inputs: Bools) -> Weights:
        """Return the rest of the mask with those columns cleared."""
        inputs = np.any(self.mask.kept, axis=(0, 2, 3))
        inputs[inputs] = living_inputs
        return Rest(self.mask.without(inputs))

    def size(self, stored: Storage, weight: Shape, value_bytes: int) -> tuple[int, int]:
        """Return the bytes of the mask, or of the smaller dense layer if these are fewer."""
        outputs, inputs, height, width = self.mask.kept.shape
        dense = DENSE.size(stored, weight, value_bytes)
        return min(self.mask.size(stored, (outputs, inputs, height * width), value_bytes), dense, key=sum)
