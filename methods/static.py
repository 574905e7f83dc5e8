"""Static random sparsity: masks drawn once, never changed."""

from collections.abc import Callable, Mapping

import torch

from methods import masking, scores
from methods.allocation import fitting, uniform
from methods.base import Branches, Setting, SparseMethod, require_one_mask
from methods.granularity import Elementwise, select

Allocation = Callable[[Mapping[str, torch.Size], float], dict[str, int]]


class StaticMask(SparseMethod):
    """Random masks with an exact number of ones per layer; both branches get the same.

    The masks come from ``setting.seed`` alone, so they are the same on all ranks. Source: Mocanu et al.
    2018 and Evci et al. 2020 ("static"), who draw each weight by chance instead.

    An N:M pattern keeps random n of every m weights; layers that it does not fit stay dense.

    Args:
        setting: density and seed; a gap is refused, because there is one mask.
        allocation: ``allocation.erk`` or ``allocation.uniform``; a pattern has one density in all layers, and so
            only ``uniform``.
    """

    def __init__(self, setting: Setting, *, allocation: Allocation) -> None:
        if setting.granularity != Elementwise() and allocation is not uniform:
            raise ValueError(
                f"{setting.granularity.name} keeps as much in every layer, so there is nothing to allocate: "
                "use static_uniform, or the granularity 'element'."
            )
        require_one_mask(setting, "static")
        self._setting = setting
        self._density = setting.granularity.density(setting.granularity.level(setting.density))
        self._allocation = allocation

    def attach(self, branches: Branches, total_steps: int) -> None:  # noqa: ARG002
        """Draw the masks."""
        latents = masking.latent(branches.online)
        generator = torch.Generator().manual_seed(self._setting.seed)
        granularity = self._setting.granularity
        shapes = fitting({name: weight.shape for name, weight in latents.items()}, granularity)
        ones = {name: weight.numel() for name, weight in latents.items()}
        ones |= self._allocation(shapes, self._density)
        branches.write(select(scores.random(latents, generator), ones, granularity))
