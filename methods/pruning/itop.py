"""In-time over-parameterisation (ITOP): SET and RigL, with enough steps between updates to try what was grown."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from methods.drop_and_grow import LayerExchange
from methods.masking import Masks
from methods.setting import Setting, require_no_period


class Itop(LayerExchange):
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
        require_no_period(setting, "in-time over-parameterisation")
        super().__init__(
            setting,
            "in-time over-parameterisation",
            growth=growth,
            replaces_step=False,
            fraction=fraction,
            final_fraction=fraction_end,
            end_fraction=end_fraction,
            period_fraction=period_fraction,
        )
        self._fired: Masks = {}

    def first(self, drawn: dict[str, Tensor]) -> Masks:
        """Return random masks with ERK counts; their weights are explored."""
        self._fired = super().first(drawn)
        return self._fired

    def noted(self, masks: Masks) -> dict[str, float]:
        """Return which share of all weights was ever active."""
        self._fired = {name: torch.maximum(fired, masks[name]) for name, fired in self._fired.items()}
        fired = sum(int(mask.count_nonzero()) for mask in self._fired.values())
        return {"explored": fired / sum(mask.numel() for mask in self._fired.values())}

    def state(self) -> dict[str, object]:
        """Return which weights were ever active; the masks are in the modules, and the schedule knows only the step."""
        return {"fired": {name: fired.bool() for name, fired in self._fired.items()}}

    def restore(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restore which weights were ever active."""
        self._fired = {name: state["fired"][name].to(fired) for name, fired in self._fired.items()}
