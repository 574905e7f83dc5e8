"""Sparse networks from scratch (SNFS, sparse momentum): weights move between layers, to where the momentum is large."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from methods import masking, scores
from methods.allocation import uniform
from methods.branches import Branches
from methods.drop_and_grow import DropAndGrow
from methods.exchange import drop
from methods.granularity.element import Elementwise
from methods.granularity.select import select
from methods.masking import Masks
from methods.setting import Setting


class Snfs(DropAndGrow):
    """Drop the smallest magnitudes of each layer; share what is freed by momentum; grow where momentum is largest.

    The momentum is a running sum of dense gradients, so that inactive weights have one too: every step up to the last
    update needs the dense gradient, and is counted so. A layer's share of what was dropped anywhere is in proportion
    to the mean momentum of its active weights, as far as it has room. What grows starts at 0; both branches get the
    same mask.

    Source: Dettmers and Zettlemoyer 2019, algorithm 1, and the authors' code (sparse_learning, commit e19ff16,
    sparselearning/core.py: ``truncate_weights``, ``gather_statistics``, ``calc_growth_redistribution``;
    sparselearning/funcs.py: ``momentum_redistribution``, ``magnitude_prune``, ``momentum_growth``): equal density in
    all layers at first, dropped fraction 0.5 on a cosine to 0.005. Deviation 29 in results/deviations.md.

    Args:
        setting: density, seed and period; the window is the method's own.
        momentum: of the running sum of gradients.
        prune_rate: fraction of each layer's active weights dropped at the first update; below 1, so that no layer is
            emptied.
        prune_rate_end: at the last update. No more than ``prune_rate`` is used.
        end_fraction: of the run, when the last update comes.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        momentum: float = 0.9,
        prune_rate: float = 0.5,
        prune_rate_end: float = 0.005,
        end_fraction: float = 0.9,
    ) -> None:
        if not 0.0 <= prune_rate < 1.0:
            raise ValueError(f"prune_rate {prune_rate} is outside [0, 1): a layer must keep something to be ranked by.")
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum {momentum} is outside [0, 1): at 1 it would never forget.")
        super().__init__(setting, "snfs", fraction=prune_rate, final_fraction=prune_rate_end, end_fraction=end_fraction)
        self._momentum = momentum

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Plan the updates, draw the first masks and start without momentum."""
        super().attach(branches, total_steps)
        self._momenta = {name: torch.zeros_like(weight) for name, weight in masking.latent(branches.online).items()}

    def first(self, drawn: dict[str, Tensor]) -> Masks:
        """Return random masks, equally dense in all layers."""
        ones = uniform({name: score.shape for name, score in drawn.items()}, self._setting.density)
        return select(drawn, ones, self._setting.granularity)

    def before_forward(self, step: int) -> None:
        """Watch the dense gradient, as long as there are updates to come."""
        if step <= self._exchange.end_step:
            self._branches.watch()

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:
        """Take the gradient into the momentum; drop and grow, when due."""
        if step <= self._exchange.end_step:
            for name, gradient in self._branches.dense_gradient().items():
                self._momenta[name].mul_(self._momentum).add_(gradient)
            if self.is_due(step):
                self._update(step, optimizer)
        return True

    def state(self) -> dict[str, object]:
        """Return the momenta; the masks are in the modules, and the schedule knows only the step."""
        return {"momenta": {name: momentum.clone() for name, momentum in self._momenta.items()}}

    def restore(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restore the momenta."""
        for name, momentum in self._momenta.items():
            momentum.copy_(state["momenta"][name])

    def _update(self, step: int, optimizer: Optimizer) -> None:
        fraction, masks = self._exchange.value(step), masking.read(self._branches.online)
        magnitudes = scores.magnitude(masking.latent(self._branches.online))
        growth = scores.magnitude(self._momenta)
        kept = {name: drop(mask, magnitudes[name], fraction) for name, mask in masks.items()}
        freed = {name: int((mask - kept[name]).count_nonzero()) for name, mask in masks.items()}
        means = {name: float(growth[name][mask == 1].double().mean()) for name, mask in masks.items()}
        room = {name: int((mask == 0).count_nonzero()) for name, mask in kept.items()}
        grown = redistributed(sum(freed.values()), means if any(means.values()) else freed, room)
        masks = {
            # Below every momentum, which may be 0: what is active already cannot grow.
            name: mask + Elementwise().keep(growth[name].masked_fill(mask == 1, -1.0), grown[name]).float()
            for name, mask in kept.items()
        }
        self._branches.write(masks, optimizer, candidates="active")
        moved = sum(max(0, grown[name] - freed[name]) for name in masks)
        self.history.add(step, exchanged_fraction=fraction, moved_between_layers=float(moved))


def redistributed(total: int, shares: Mapping[str, float], room: Mapping[str, int]) -> dict[str, int]:
    """Return whole counts that add up to ``total``, in proportion to the shares as far as there is room.

    A layer that cannot hold its part is filled, and the others share the rest in proportion. Fractions are rounded by
    largest remainder; ties go to the first layer.

    Args:
        total: at most all the room.
        shares: per layer, not negative; where those of the layers with room are all 0, the room itself is the share.
        room: per layer, how much it can take.

    Raises:
        ValueError: there is not enough room.
    """
    if total > sum(room.values()):
        raise ValueError(f"{total} weights do not fit into the {sum(room.values())} places of {len(room)} layers.")
    parts = dict.fromkeys(room, 0.0)
    open_layers, left = {name for name in room if room[name]}, float(total)
    while open_layers and left > 0.0:
        ask = {name: shares[name] if any(shares[each] for each in open_layers) else room[name] for name in open_layers}
        scale = left / math.fsum(ask.values())
        full = {name for name in open_layers if ask[name] * scale >= room[name]}
        for name in full or open_layers:
            parts[name] = float(room[name]) if full else ask[name] * scale
        if not full:
            break
        left = total - math.fsum(parts[name] for name in parts if parts[name] == room[name])
        open_layers -= full
    counts = {name: min(room[name], math.floor(part)) for name, part in parts.items()}
    by_remainder = sorted(room, key=lambda name: (counts[name] == room[name], counts[name] - parts[name]))
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
