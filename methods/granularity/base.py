"""Which shapes may go: a score and a count become a mask with exactly that many ones."""

import abc
import math

import torch
from torch import Tensor


def budget(total: int, density: float) -> int:
    """Return how many of ``total`` weights a density keeps: ``floor(density * total + 1/2)``.

    Source: methods differ (RigL floors the zeros, jaxpruner rounds to even); rounding half up is ours,
    because a reader can check it by hand.

    Raises:
        ValueError: if ``density`` is outside (0, 1].
    """
    if not 0.0 < density <= 1.0:
        raise ValueError(f"density {density} is outside (0, 1]: it is the fraction of weights kept. Clamp it first.")
    return math.floor(density * total + 0.5)


class Granularity(abc.ABC):
    """A family of masks. Immutable; equal values are interchangeable.

    A *unit* is what comes and goes as one: a weight, a block, a filter, or the spare weights of an N:M group.
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The text that ``parse`` turns back into this value."""

    @property
    @abc.abstractmethod
    def unit(self) -> int | None:
        """How many weights a unit has, where units of all layers are alike and compete for one budget.

        None where they are not: then every layer has a budget of its own.
        """

    @property
    @abc.abstractmethod
    def is_whole(self) -> bool:
        """Whether masks consist of whole units, which can be exchanged; a pattern keeps a part of each group."""

    @abc.abstractmethod
    def fits(self, shape: torch.Size) -> bool:
        """Return whether a weight of this shape can be pruned; if not, its layer stays dense."""

    @abc.abstractmethod
    def level(self, density: float) -> float:
        """Return the level, the number in [0, 1] that schedules move, of a finished run of this density.

        Level 1 keeps everything.

        Raises:
            ValueError: if no finished run has this density.
        """

    @abc.abstractmethod
    def density(self, level: float) -> float:
        """Return the density at a level, of the layers that fit."""

    @abc.abstractmethod
    def attainable(self, shape: torch.Size, density: float) -> int:
        """Return the ones that ``keep`` will leave in a weight of ``shape`` at about ``density``.

        Raises:
            ValueError: if the density is out of reach, or the shape does not divide.
        """

    @abc.abstractmethod
    def keep(self, score: Tensor, count: int) -> Tensor:
        """Return a contiguous bool mask of ``score``'s shape: exactly ``count`` ones, on the highest scores.

        Ties go to the lowest index in logical (row-major) order, whatever the memory format: published code
        keeps ``score > threshold``, which loses every weight that ties with the threshold.

        Raises:
            ValueError: if a score is not finite, or the count cannot be kept.
        """

    @abc.abstractmethod
    def pooled(self, score: Tensor) -> Tensor:
        """Return the sum of scores of each unit, in the order of the units' first weights.

        Raises:
            ValueError: if the shape does not divide.
        """

    @abc.abstractmethod
    def spread(self, units: Tensor, shape: torch.Size) -> Tensor:
        """Return a contiguous tensor of ``shape`` in which every weight has the entry of its unit."""


class WholeUnits(Granularity):
    """Masks that consist of whole units: what is in no unit that is kept is gone. The level is the density."""

    @property
    def is_whole(self) -> bool:
        """True."""
        return True

    @abc.abstractmethod
    def size(self, shape: torch.Size) -> int:
        """Return the weights of a unit of a layer.

        Raises:
            ValueError: if the shape does not divide.
        """

    def level(self, density: float) -> float:
        """Return the density itself."""
        return density

    def density(self, level: float) -> float:
        """Return the level itself."""
        return level

    def attainable(self, shape: torch.Size, density: float) -> int:
        """Return the weights of ``floor(density * units + 1/2)`` units, of one at least."""
        size = self.size(shape)
        return size * max(1, budget(shape.numel() // size, density))

    def keep(self, score: Tensor, count: int) -> Tensor:
        """Return the units with the highest sums of scores; any shape may be full."""
        if count == score.numel():
            return highest(score.detach(), count)
        size = self.size(score.shape)
        units, rest = divmod(count, size)
        if rest or not 0 <= count <= score.numel():
            raise ValueError(
                f"{self.name} cannot keep {count} of {score.numel()} weights, which come and go {size} at a time: "
                f"ask for a multiple of {size}, from 0 to {score.numel()}."
            )
        return self.spread(highest(self.pooled(score), units), score.shape)


def highest(score: Tensor, count: int) -> Tensor:
    """Return a bool mask of ``score``'s shape: its ``count`` highest entries, ties to the lowest index."""
    flat = score.reshape(-1)
    check_finite(flat)
    if count == 0:
        return torch.zeros(score.shape, dtype=torch.bool, device=score.device)
    # A full stable sort is ten times slower. The order of top-k is not specified, its values are.
    threshold = flat.topk(count, sorted=False).values.min()
    kept = flat > threshold
    ties = (flat == threshold).nonzero().reshape(-1)
    kept[ties[: count - int(kept.count_nonzero())]] = True
    return kept.reshape(score.shape)


def check_finite(score: Tensor) -> None:
    """Refuse scores without an order.

    Raises:
        ValueError: a score is not finite.
    """
    # The extremes tell: NaN propagates through both. Ten times faster than `isfinite` on every entry.
    if score.numel() and not bool(torch.isfinite(torch.stack(score.aminmax())).all()):
        raise ValueError(
            "a score is not finite, so there is no highest one. The weights or gradients have diverged: "
            "lower the learning rate, or look for an infinite loss."
        )
