"""In-time over-parameterisation (ITOP): SET and RigL, with enough steps between updates to try what was grown."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from methods import draws, masking, scores
from methods.allocation import erk
from methods.branches import Branches
from methods.exchange import exchange
from methods.granularity.select import select
from methods.masking import Masks
from methods.method import SparseMethod
from methods.schedule import CosineFraction, window
from methods.setting import (
    Setting,
    require_elementwise,
    require_no_period,
    require_no_ramp,
    require_one_mask,
)


class Itop(SparseMethod):
    """Exchange half of each layer's weights, rarely, and say which share of all weights was ever active.

    From random ERK masks, in each layer the smallest magnitudes make room for as many others; weights are grown at 0,
    and both branches get the same mask. The exchanged fraction falls along a cosine to the last update. The curve
    ``explored`` is the rate of in-time over-parameterisation: the share of the prunable weights that some mask so far
    has had, the first masks included.

    Source: Liu et al. 2021 (ITOP), section 4, and the authors' code (In-Time-Over-Parameterization, commit 1b6a89e,
    sparselearning/core.py: ``fired_masks`` line 197 and ``fired_masks_update``; README.md, section CIFAR10/100):
    exchanged fraction 0.5 on a cosine to 0.005, an update every 1500 (SET) or 4000 (RigL) of 97,750 steps, no weight
    step skipped. Deviation 28 in results/deviations.md.

    Args:
        setting: density and seed; window and period are the method's own.
        growth: ``random``: by chance, from seed and step alone (SET); ``gradient``: the largest dense gradients of
            both modules of a tied pair together (RigL).
        period_fraction: of the run, between two updates.
        fraction: exchanged at the first update; 0 is static sparsity.
        fraction_end: exchanged at the last update. No more than ``fraction`` is used.
        end_fraction: of the run, when the last update comes.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        growth: Literal["random", "gradient"],
        period_fraction: float,
        fraction: float = 0.5,
        fraction_end: float = 0.005,
        end_fraction: float = 0.9,
    ) -> None:
        super().__init__()
        require_elementwise(setting, "in-time over-parameterisation")
        require_no_ramp(setting, "in-time over-parameterisation")
        require_no_period(setting, "in-time over-parameterisation")
        require_one_mask(setting, "in-time over-parameterisation")
        self._setting = setting
        self._uses_gradient = growth == "gradient"
        self._period_fraction = period_fraction
        self._fraction = fraction
        self._fraction_end = min(fraction, fraction_end)
        self._end_fraction = end_fraction
        self._fired: Masks = {}

    @property
    def window(self) -> tuple[float, float]:
        """From the start to the last update."""
        return 0.0, self._end_fraction

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Plan the updates and draw the first masks."""
        setting = self._setting
        _, end, every = window(total_steps, 0.0, self._end_fraction, self._period_fraction)
        self._exchange = CosineFraction(
            start_step=min(every, end), end_step=end, every=every, initial=self._fraction, final=self._fraction_end
        )
        self._branches = branches
        latents = masking.latent(branches.online)
        ones = erk({name: weight.shape for name, weight in latents.items()}, setting.density)
        drawn = scores.random(latents, torch.Generator().manual_seed(setting.seed))
        self._fired = select(drawn, ones, setting.granularity)
        branches.write(self._fired, candidates="active")

    def before_forward(self, step: int) -> None:
        """Watch the dense gradient in the steps that grow by it."""
        if self._uses_gradient and self._is_due(step):
            self._branches.watch()

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:
        """Exchange weights, when due."""
        if self._is_due(step):
            branches, fraction = self._branches, self._exchange.value(step)
            strength, growth = scores.magnitude(masking.latent(branches.online)), self._growth(step)
            masks = {
                name: exchange(mask, strength[name], growth[name], fraction)
                for name, mask in masking.read(branches.online).items()
            }
            branches.write(masks, optimizer, candidates="active")
            self._fired = {name: torch.maximum(fired, masks[name]) for name, fired in self._fired.items()}
            self.history.add(step, exchanged_fraction=fraction, explored=self._explored())
        return True

    def state(self) -> dict[str, object]:
        """Return which weights were ever active; the masks are in the modules, and the schedule knows only the step."""
        return {"fired": {name: fired.bool() for name, fired in self._fired.items()}}

    def restore(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restore which weights were ever active."""
        self._fired = {name: state["fired"][name].to(fired) for name, fired in self._fired.items()}

    def _explored(self) -> float:
        fired = sum(int(mask.count_nonzero()) for mask in self._fired.values())
        return fired / sum(mask.numel() for mask in self._fired.values())

    def _is_due(self, step: int) -> bool:
        return self._exchange.is_due(step) and self._exchange.value(step) > 0.0

    def _growth(self, step: int) -> dict[str, Tensor]:
        if self._uses_gradient:
            return scores.gradient_magnitude(self._branches.dense_gradient())
        return scores.random(masking.latent(self._branches.online), draws.at_step(self._setting.seed, step))
