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
            return _highest(score.detach(), count)
        size = self.size(score.shape)
        units, rest = divmod(count, size)
        if rest or not 0 <= count <= score.numel():
            raise ValueError(
                f"{self.name} cannot keep {count} of {score.numel()} weights, which come and go {size} at a time: "
                f"ask for a multiple of {size}, from 0 to {score.numel()}."
            )
        return self.spread(_highest(self.pooled(score), units), score.shape)


@dataclass(frozen=True, slots=True)
class Elementwise(WholeUnits):
    """Every single weight may go."""

    @property
    def name(self) -> str:
        """``element``."""
        return "element"

    @property
    def unit(self) -> int:
        """1."""
        return 1

    def fits(self, shape: torch.Size) -> bool:  # noqa: ARG002
        """Return True: any shape does."""
        return True

    def size(self, shape: torch.Size) -> int:  # noqa: ARG002
        """Return 1."""
        return 1

    def pooled(self, score: Tensor) -> Tensor:
        """Return the scores themselves."""
        return score.detach()

    def spread(self, units: Tensor, shape: torch.Size) -> Tensor:
        """Return the entries themselves."""
        return units.reshape(shape).contiguous()


@dataclass(frozen=True, slots=True)
class Block(WholeUnits):
    """Blocks of ``rows`` output x ``columns`` input channels at one kernel position; those on the grid from 0.

    Blocks of all layers compete for one budget, so that ``Block(1, 1)`` is ``Elementwise``. Weights have shape
    (out, in, ...); of a grouped convolution (out, in / groups, ...), where a block is a block of the machine only if
    the outputs of one group divide by ``rows`` too.

    Source: ours. Blocks over (out, in) at each kernel position are those of the SyncCP authors' accelerator code
    (HWEfficientTraining, ``Conv2d_TD``), which drops them below a quantile of mean magnitudes; their structured
    synchronized pruning is an empty stub (deviation 18 in results/README.md).
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


@dataclass(frozen=True, slots=True)
class Filter(WholeUnits):
    """Whole output filters: all weights (in, ...) of one output channel.

    Filters of different layers have different sizes, so each layer keeps the same share of its own, and one filter at
    least: without it the layer would be cut off. Source: light-SSL's ``Slicer`` (solo-learn-sparse), which keeps the
    top share of every layer by L1 norm; ties and rounding are ours. Biases, norms and the inputs of the next layer
    that read a removed filter stay: a mask is of weights.
    """

    @property
    def name(self) -> str:
        """``filter``."""
        return "filter"

    @property
    def unit(self) -> None:
        """None: every layer has filters of another size."""
        return

    def fits(self, shape: torch.Size) -> bool:
        """Return whether there are input channels too."""
        return len(shape) >= 2

    def size(self, shape: torch.Size) -> int:
        """Return the weights of one filter."""
        if not self.fits(shape):
            raise ValueError(f"a weight of shape {tuple(shape)} has no filters: it needs outputs and inputs.")
        return shape.numel() // shape[0]

    def pooled(self, score: Tensor) -> Tensor:
        """Return sums of shape (out,), in float64."""
        self.size(score.shape)
        return score.detach().flatten(1).double().sum(dim=1)

    def spread(self, units: Tensor, shape: torch.Size) -> Tensor:
        """Repeat each entry over its filter."""
        return units.reshape(-1, *(1 for _ in shape[1:])).expand(shape).contiguous()


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

    @property
    def unit(self) -> None:
        """None: each layer has the same fraction of dense groups."""
        return

    @property
    def is_whole(self) -> bool:
        """False: ``n`` weights of every group stay, whatever its level."""
        return False

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
        grouped = self._grouped(score)
        highest = grouped.argsort(dim=1, descending=True, stable=True)[:, : self.n]
        kept = self._ungrouped(
            torch.zeros_like(grouped, dtype=torch.bool).scatter_(1, highest, value=True), score.shape
        )
        return kept | self.spread(_highest(self.pooled(score), dense_groups), score.shape)

    def pooled(self, score: Tensor) -> Tensor:
        """Return the sum of each group, of shape (groups,), in float64."""
        return self._grouped(score).double().sum(dim=1)

    def spread(self, units: Tensor, shape: torch.Size) -> Tensor:
        """Repeat each entry over its group."""
        return self._ungrouped(units.reshape(-1, 1).expand(-1, self.m), shape)

    def _grouped(self, score: Tensor) -> Tensor:
        return score.detach().movedim(1, -1).reshape(self._groups(score.shape), self.m)

    def _ungrouped(self, grouped: Tensor, shape: torch.Size) -> Tensor:
        return grouped.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1).contiguous()

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
    """Return the granularity of a cell's name.

    ``element``, ``2:4``, ``block4x4`` (output x input channels), ``filter``, or ``-`` (dense; nothing goes).

    Raises:
        ValueError: for any other text.
    """
    if text in {"element", "-"}:
        return Elementwise()
    if text == "filter":
        return Filter()
    pattern = re.fullmatch(r"(\d+):(\d+)", text)
    if pattern is not None:
        return NofM(int(pattern[1]), int(pattern[2]))
    block = re.fullmatch(r"block([1-9]\d*)x([1-9]\d*)", text)
    if block is not None:
        return Block(int(block[1]), int(block[2]))
    raise ValueError(
        f"unknown granularity {text!r}: use 'element', an N:M pattern such as '2:4', a block of output x input "
        "channels such as 'block4x4', 'filter', or '-' for dense."
    )


def _highest(score: Tensor, count: int) -> Tensor:
    """Return a bool mask of ``score``'s shape: its ``count`` highest entries, ties to the lowest index."""
    flat = score.reshape(-1)
    _check_finite(flat)
    if count == 0:
        return torch.zeros(score.shape, dtype=torch.bool, device=score.device)
    # A full stable sort is ten times slower. The order of top-k is not specified, its values are.
    threshold = flat.topk(count, sorted=False).values.min()
    kept = flat > threshold
    ties = (flat == threshold).nonzero().reshape(-1)
    kept[ties[: count - int(kept.count_nonzero())]] = True
    return kept.reshape(score.shape)


def _check_finite(score: Tensor) -> None:
    # The extremes tell: NaN propagates through both. Ten times faster than `isfinite` on every entry.
    if score.numel() and not bool(torch.isfinite(torch.stack(score.aminmax())).all()):
        raise ValueError(
            "a score is not finite, so there is no highest one. The weights or gradients have diverged: "
            "lower the learning rate, or look for an infinite loss."
        )
