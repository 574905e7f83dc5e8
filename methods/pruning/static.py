"""Static random sparsity: masks drawn once, never changed."""

from collections.abc import Mapping
from typing import Protocol

import torch

from methods import masking, scores
from methods.allocation import alike, fitting, uniform
from methods.branches import Branches
from methods.granularity.select import select
from methods.method import SparseMethod
from methods.setting import Setting, require_one_mask


class Allocation(Protocol):
    """How much each layer keeps: ``allocation.erk`` or ``allocation.uniform``."""

    def __call__(self, shapes: Mapping[str, torch.Size], density: float, *, unit: int) -> dict[str, int]:
        """Return the ones per layer, in whole units."""


class StaticMask(SparseMethod):
    """Random masks with an exact number of ones per layer; both branches get the same.

    The masks come from ``setting.seed`` alone, so they are the same on all ranks. Source: Mocanu et al.
    2018 and Evci et al. 2020 ("static"), who draw each weight by chance instead.

    An N:M pattern keeps random n of every m weights; of blocks and filters, random ones are kept. Layers that the
    granularity does not fit stay dense.

    Args:
        setting: density and seed; a gap is refused, because there is one mask.
        allocation: ``allocation.erk`` or ``allocation.uniform``; patterns and filters have one density in all layers,
            and so only ``uniform``.
    """

    def __init__(self, setting: Setting, *, allocation: Allocation) -> None:
        super().__init__()
        if setting.granularity.unit is None and allocation is not uniform:
            raise ValueError(
                f"{setting.granularity.name} keeps as much in every layer, so there is nothing to allocate: "
                "use static_uniform, or the granularity 'element' or a block."
            )
        require_one_mask(setting, "static")
        self._setting = setting
        self._level = setting.granularity.level(setting.density)
        self._allocation = allocation

    def final_from(self, total_steps: int) -> int:  # noqa: ARG002 (the same however long the run)
        """Return 0: masks are drawn once."""
        return 0

    def attach(self, branches: Branches, total_steps: int) -> None:  # noqa: ARG002
        """Draw the masks."""
        latents = masking.latent(branches.online)
        generator = torch.Generator().manual_seed(self._setting.seed)
        granularity = self._setting.granularity
        shapes = fitting({name: weight.shape for name, weight in latents.items()}, granularity)
        ones = {name: weight.numel() for name, weight in latents.items()}
        if granularity.unit is None:
            ones |= alike(shapes, self._level, granularity)
        else:
            ones |= self._allocation(shapes, self._level, unit=granularity.unit)
        branches.write(select(scores.random(latents, generator), ones, granularity))
