"""N of every M consecutive input channels."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.granularity.base import Granularity, check_finite, highest
from methods.granularity.element import Elementwise


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
        check_finite(score)
        kept = self._ungrouped(self._strongest(self._grouped(score)), score.shape).contiguous()
        return kept | self.spread(highest(self.pooled(score), dense_groups), score.shape)

    def strict(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return bool masks of several layers, without dense groups: what ``keep`` gives for the lowest count.

        All layers are ranked together: methods whose masks follow the weights ask in every step, and small layers cost
        by the call. The masks are channels-last, as the groups lie.

        Raises:
            ValueError: a shape does not fit, or a score is not finite.
        """
        if not scores:
            return {}
        parts = [self._grouped(score) for score in scores.values()]
        together = torch.cat(parts)
        check_finite(together)
        kept = self._strongest(together).split([len(part) for part in parts])
        return {
            name: self._ungrouped(part, score.shape) for (name, score), part in zip(scores.items(), kept, strict=True)
        }

    def _strongest(self, grouped: Tensor) -> Tensor:
        """Return where the ``n`` highest of each row are, (groups, m); ties to the first. Sorting takes longer."""
        places = grouped.unbind(1)
        ahead = [torch.zeros(len(grouped), dtype=torch.int16, device=grouped.device) for _ in places]
        for first, second in itertools.combinations(range(self.m), 2):  # how many others come before
            wins = places[first] >= places[second]
            ahead[second] += wins
            ahead[first] += wins.logical_not_()
        return torch.stack(ahead, 1) < self.n

    def pooled(self, score: Tensor) -> Tensor:
        """Return the sum of each group, of shape (groups,), in float64."""
        return self._grouped(score).double().sum(dim=1)

    def spread(self, units: Tensor, shape: torch.Size) -> Tensor:
        """Repeat each entry over its group."""
        return self._ungrouped(units.reshape(-1, 1).expand(-1, self.m), shape).contiguous()

    def _grouped(self, score: Tensor) -> Tensor:
        return score.detach().movedim(1, -1).reshape(self._groups(score.shape), self.m)

    def _ungrouped(self, grouped: Tensor, shape: torch.Size) -> Tensor:
        return grouped.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1)

    def _groups(self, shape: torch.Size) -> int:
        if not self.fits(shape):
            raise ValueError(
                f"NofM({self.n}, {self.m}) cannot group a weight of shape {tuple(shape)}: its input channels "
                f"(dimension 1) must divide by {self.m}. "
                "Keep this layer dense, choose another m, or use Elementwise."
            )
        return shape.numel() // self.m
