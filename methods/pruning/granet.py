"""Gradual pruning with regrowth (GraNet): a density ramp whose every update also exchanges weights."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from methods import masking, scores
from methods.allocation import Allocation, erk, ranked
from methods.branches import Branches
from methods.exchange import drop, grow
from methods.granularity.select import select
from methods.method import SparseMethod
from methods.newcomers import Newcomers
from methods.schedule import CosineFraction, Cubic
from methods.setting import Setting, require_elementwise, require_one_mask


class GraNet(SparseMethod):
    """Prune the network's smallest active magnitudes along a cubic ramp; then exchange weights in each layer.

    Only active weights have a value and are ranked: what is dropped becomes 0, with its optimizer state, in both
    branches, and what grows, by the largest dense gradient, starts at 0. Both branches get the same mask.

    Source: Liu et al. 2021 (GraNet), sections 3 and 4, and the authors' code: random ERK masks of density 0.5, one
    threshold for the network, exchanged fraction 0.5 on a cosine to 0.005. Two deliberate differences: the ramp's
    window is the setting's, which ``gradual`` and ``synchronized`` share (theirs is 0 to 110 of 160 epochs), and
    the exchange ends with the ramp (theirs goes on to the last step, so the exported mask was never trained).

    Args:
        setting: ``density`` is the final one.
        allocation: how the layers share it; see ``allocation.ranked``. The authors': ``global``, and one density for
            all layers (``GraNet_uniform``).
        initial_density: before the ramp; a setting that asks for more starts, and stays, at its own density.
        prune_rate: fraction of each layer's active weights exchanged at the first update; 0 exchanges nothing.
        prune_rate_end: at the last update. No more than ``prune_rate`` is used.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        allocation: Allocation = "global",
        initial_density: float = 0.5,
        prune_rate: float = 0.5,
        prune_rate_end: float = 0.005,
    ) -> None:
        super().__init__()
        require_elementwise(setting, "granet")
        require_one_mask(setting, "granet")
        self._setting = setting
        self._allocation = allocation
        self._initial_density = max(initial_density, setting.density)
        self._prune_rate = prune_rate
        self._prune_rate_end = min(prune_rate, prune_rate_end)
        self._newcomers = Newcomers()

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Plan the ramp and draw the first masks."""
        setting = self._setting
        span = (total_steps, setting.start_fraction, setting.end_fraction, setting.period_fraction)
        self._density = Cubic.over(*span, initial=self._initial_density, final=setting.density)
        self._exchange = CosineFraction.over(*span, initial=self._prune_rate, final=self._prune_rate_end)
        self._branches = branches
        latents = masking.latent(branches.online)
        ones = erk({name: weight.shape for name, weight in latents.items()}, self._initial_density)
        drawn = scores.random(latents, torch.Generator().manual_seed(setting.seed))
        branches.write(select(drawn, ones, setting.granularity), candidates="active")

    def before_forward(self, step: int) -> None:
        """Watch the dense gradient in the steps that grow."""
        if self._grows(step):
            self._branches.watch()

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:
        """Prune and regrow, when due."""
        if self._density.is_due(step):
            self._update(step, optimizer)
        return True

    def state(self) -> dict[str, object]:
        """Return the newcomers; the masks are in the modules, and the schedules know only the step."""
        return {"newcomers": self._newcomers.state_dict()}

    def restore(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restore the newcomers."""
        self._newcomers.load_state_dict(state["newcomers"])

    def _update(self, step: int, optimizer: Optimizer) -> None:
        branches, granularity = self._branches, self._setting.granularity
        density, fraction = self._density.value(step), self._exchange.value(step)
        before = masking.read(branches.online)
        magnitudes = scores.magnitude(masking.latent(branches.online))
        # Below every magnitude: a weight that has just grown is 0 as well, and must not tie with inactive ones.
        strength = {name: magnitudes[name].masked_fill(mask == 0, -1.0) for name, mask in before.items()}
        shares = ranked(strength, density, granularity, self._allocation)
        masks = select(strength, shares.ones, granularity)
        kept = {name: drop(mask, strength[name], fraction) for name, mask in masks.items()}
        if self._grows(step):
            growth = scores.gradient_magnitude(branches.dense_gradient())
            masks = {name: grow(kept[name], mask, growth[name]) for name, mask in masks.items()}
        branches.write(masks, optimizer, candidates="active")
        self.history.add(
            step,
            density=density,
            exchanged_fraction=fraction,
            newcomers_kept=self._newcomers.outliving(kept),
            emptied_layers=len(shares.emptied),
        )
        self._newcomers.note(before, masks)

    def _grows(self, step: int) -> bool:
        return self._density.is_due(step) and self._exchange.value(step) > 0.0
