"""Static random sparsity: masks drawn once, never changed."""

from collections.abc import Callable, Mapping

import torch

from methods import masking, scores
from methods.base import Branches, Setting, SparseMethod, require_elementwise, require_one_mask
from methods.granularity import select

Allocation = Callable[[Mapping[str, torch.Size], float], dict[str, int]]


class StaticMask(SparseMethod):
    """Random masks with an exact number of ones per layer; both branches get the same.

    The masks come from ``setting.seed`` alone, so they are the same on all ranks. Source: Mocanu et al.
    2018 and Evci et al. 2020 ("static"), who draw each weight by chance instead.

    Args:
        setting: density and seed; a gap is refused, because there is one mask.
        allocation: ``allocation.erk`` or ``allocation.uniform``.
    """

    def __init__(self, setting: Setting, *, allocation: Allocation) -> None:
        require_elementwise(setting, "static")
        require_one_mask(setting, "static")
        self._setting = setting
        self._allocation = allocation

    def attach(self, branches: Branches, total_steps: int) -> None:  # noqa: ARG002
        """Draw the masks."""
        latents = masking.latent(branches.online)
        generator = torch.Generator().manual_seed(self._setting.seed)
        ones = self._allocation({name: weight.shape for name, weight in latents.items()}, self._setting.density)
        branches.write(select(scores.random(latents, generator), ones, self._setting.granularity))
