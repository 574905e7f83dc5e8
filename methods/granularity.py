"""Which shapes may go: a score and a count become a mask with exactly that many ones."""

import abc
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

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
    """A family of masks. Immutable; equal values are interchangeable."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The text that ``parse`` turns back into this value."""

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


@dataclass(frozen=True, slots=True)
class Elementwise(Granularity):
    """Every single weight may go."""

    @property
    def name(self) -> str:
        """``element``."""
        return "element"

    def fits(self, shape: torch.Size) -> bool:  # noqa: ARG002
        """Return True: any shape does."""
        return True

    def level(self, density: float) -> float:
        """Return the density itself."""
        return density

    def density(self, level: float) -> float:
        """Return the level itself."""
        return level

    def attainable(self, shape: torch.Size, density: float) -> int:
        """Return ``floor(density * N + 1/2)``."""
        return budget(shape.numel(), density)

    def keep(self, score: Tensor, count: int) -> Tensor:
        """Return the ``count`` highest scores. Any shape."""
        flat = score.detach().reshape(-1)
        _check_finite(flat)
        if not 0 <= count <= flat.numel():
            raise ValueError(f"cannot keep {count} of {flat.numel()} weights: ask for 0 to {flat.numel()}.")
        if count == 0:
            return torch.zeros(score.shape, dtype=torch.bool, device=score.device)
        # A full stable sort is ten times slower. The order of top-k is not specified, its values are.
        threshold = flat.topk(count, sorted=False).values.min()
        kept = flat > threshold
        ties = (flat == threshold).nonzero().reshape(-1)
        kept[ties[: count - int(kept.count_nonzero())]] = True
        return kept.reshape(score.shape)


@dataclass(frozen=True, slots=True)
class NofM(Granularity):
    """At most ``n`` of every ``m`` consecutive input channels, at a fixed output channel and kernel position.

    A group is either n:m or fully dense, so densities between n/m and 1 are reached by dense groups: those
    with the highest sum of scores (source: Meng et al. 2023, SyncCP, the authors' ``ContrastiveNM``). The level
    is the fraction of dense groups. A finished run is at level 0: every group is exactly n:m, density n/m.
    Weights have shape (out, in / groups, ...) or (out, in).
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 1 <= self.n < self.m:
            raise ValueError(f"{self.n}:{self.m} is no N:M pattern: it must hold that 1 <= N < M.")

    @property
    def name(self) -> str:
        """For example ``2:4``."""
        return f"{self.n}:{self.m}"

    def fits(self, shape: torch.Size) -> bool:
        """Return whether the input channels of a group divide by m: no pattern may straddle two kernel positions."""
        return len(shape) >= 2 and shape[1] % self.m == 0

    def level(self, density: float) -> float:
        """Return 0, for the one density n/m; to two decimals, as in a cell's name."""
        if abs(density - self.n / self.m) > 0.005:
            raise ValueError(
                f"{self.name} keeps exactly {self.n} of every {self.m} weights, but the setting asks for density "
                f"{density}: use {self.n / self.m:.2f}, or the granularity 'element'."
            )
        return 0.0

    def density(self, level: float) -> float:
        """Return n/m, and what the dense groups keep beyond it."""
        return self.n / self.m + (1.0 - self.n / self.m) * level

    def attainable(self, shape: torch.Size, density: float) -> int:
        """Return the nearest reachable count; half a dense group rounds up."""
        groups = self._groups(shape)
        spare = density * shape.numel() - self.n * groups
        dense_groups = math.floor(spare / (self.m - self.n) + 0.5)
        if not 0 <= dense_groups <= groups:
            raise ValueError(
                f"NofM({self.n}, {self.m}) cannot reach density {density:.2f} for shape {tuple(shape)}: "
                f"the lowest is n/m = {self.n / self.m:.2f}, the highest 1. "
                "Lower n, raise m, or use Elementwise."
            )
        return self.n * groups + (self.m - self.n) * dense_groups

    def keep(self, score: Tensor, count: int) -> Tensor:
        """Return the ``n`` highest of each group, and whole groups to fill up to ``count``; any shape may be full."""
        if count == score.numel():
            return Elementwise().keep(score, count)
        groups = self._groups(score.shape)
        dense_groups, rest = divmod(count - self.n * groups, self.m - self.n)
        if rest or not 0 <= dense_groups <= groups:
            raise ValueError(
                f"NofM({self.n}, {self.m}) cannot keep exactly {count} of {score.numel()} weights. "
                "Ask `attainable` for a reachable count."
            )
        _check_finite(score)
        channels_last = score.detach().movedim(1, -1)
        grouped = channels_last.reshape(groups, self.m)
        highest = grouped.argsort(dim=1, descending=True, stable=True)[:, : self.n]
        kept = torch.zeros_like(grouped, dtype=torch.bool).scatter_(1, highest, value=True)
        kept |= Elementwise().keep(grouped.double().sum(dim=1), dense_groups).unsqueeze(1)
        return kept.reshape(channels_last.shape).movedim(-1, 1).contiguous()

    def _groups(self, shape: torch.Size) -> int:
        if not self.fits(shape):
            raise ValueError(
                f"NofM({self.n}, {self.m}) cannot group a weight of shape {tuple(shape)}: its input channels "
                f"(dimension 1) must divide by {self.m}. "
                "Keep this layer dense, choose another m, or use Elementwise."
            )
        return shape.numel() // self.m


def select(scores: Mapping[str, Tensor], counts: Mapping[str, int], granularity: Granularity) -> dict[str, Tensor]:
    """Return float32 masks with ``counts[name]`` ones in each layer, on its highest scores.

    Raises:
        ValueError: if the two name different layers, or a layer's scores or count are refused (the layer is
            named).
    """
    if scores.keys() != counts.keys():
        raise ValueError(f"scores and counts name different layers: {sorted(scores.keys() ^ counts.keys())}.")
    masks = {}
    for name, score in scores.items():
        try:
            masks[name] = granularity.keep(score, counts[name]).float()
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return masks


def parse(text: str) -> Granularity:
    """Return the granularity of a cell's name: ``element``, ``2:4``, or ``-`` (dense; nothing goes).

    Raises:
        ValueError: for any other text.
    """
    if text in {"element", "-"}:
        return Elementwise()
    pattern = re.fullmatch(r"(\d+):(\d+)", text)
    if pattern is None:
        raise ValueError(
            f"unknown granularity {text!r}: use 'element', an N:M pattern such as '2:4', or '-' for dense."
        )
    return NofM(int(pattern[1]), int(pattern[2]))


def _check_finite(score: Tensor) -> None:
    # The extremes tell: NaN propagates through both. Ten times faster than `isfinite` on every entry.
    if score.numel() and not bool(torch.isfinite(torch.stack(score.aminmax())).all()):
        raise ValueError(
            "a score is not finite, so there is no highest one. The weights or gradients have diverged: "
            "lower the learning rate, or look for an infinite loss."
        )
