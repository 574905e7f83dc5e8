"""Momentum contrastive pruning (MCP): the momentum encoder is pruned, once the encoder is drawn to few filters."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from methods import masking
from methods.allocation import alike, fitting
from methods.branches import Branches
from methods.granularity.filter import Filter
from methods.granularity.select import select
from methods.masking import Masks
from methods.method import SparseMethod
from methods.schedule import window
from methods.setting import Setting, require_no_ramp

START_FRACTION, END_FRACTION = 0.30, 0.68  # of the run, in which the encoder is drawn to few filters (ours)


class MomentumPruning(SparseMethod):
    """Draw the encoder to few filters; then cut its momentum encoder down to these, and train the subnet beside it.

    Between two moments of the run the loss draws every layer to its nearest point with as many filters as shall stay,
    by the alternating direction method of multipliers (ADMM): with W the latents, ``Z`` the projection of ``W + U``
    on its largest filters and ``U`` the sum of what they differed by, the penalty is ``pressure / 2 |W - Z + U|^2``.
    Then the momentum encoder's weights take the place of the encoder's, under a mask of its largest filters. The
    unpruned momentum encoder stays the target, and follows as before.

    Source: **our reading** of the abstract of Pan et al., CVPR workshops 2022, which is all that could be had: it
    prunes the momentum encoder, keeps an unpruned one as a transition, and uses ADMM for the encoder's sparsity. The
    pressure, both moments and the training afterwards are ours (deviation 43); no claim is attached.

    Args:
        setting: granularity ``filter``; ``density`` of the subnet; the target stays dense, so that the gap is the rest.
        pressure: rho of the penalty.

    Raises:
        ValueError: the setting asks for other shapes, or for a target that is not dense.
    """

    def __init__(self, setting: Setting, *, pressure: float = 1e-3) -> None:
        super().__init__()
        require_no_ramp(setting, "momentum_pruning")
        if setting.granularity != Filter() or abs(setting.density + setting.gap - 1.0) > 1e-9:
            raise ValueError(
                "momentum_pruning keeps whole filters beside a dense momentum encoder, but the granularity is "
                f"{setting.granularity.name}, density {setting.density} and gap {setting.gap}: use 'filter' and "
                "the gap that makes the target dense, as in d0.25+g0.75."
            )
        self._setting = setting
        self._pressure = pressure
        self._step = 0
        self._nearest: dict[str, Tensor] = {}
        self._dual: dict[str, Tensor] = {}

    @property
    def splits_branches(self) -> bool:
        """True: the target is never pruned."""
        return True

    @property
    def window(self) -> tuple[float, float]:
        """From the first projection to the pruning."""
        return START_FRACTION, END_FRACTION

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Plan the projections.

        Raises:
            ValueError: the target is no momentum encoder.
        """
        if branches.tied:
            raise ValueError(
                "momentum_pruning: this framework has no momentum encoder to prune: use moco, or byol, whose target is "
                "an average of the online encoder."
            )
        self._branches = branches
        self._latents = masking.latent(branches.online)
        self._start, self._end, self._every = window(
            total_steps, START_FRACTION, END_FRACTION, self._setting.period_fraction
        )
        shapes = {name: latent.shape for name, latent in self._latents.items()}
        self._ones = alike(fitting(shapes, self._setting.granularity), self._setting.density, self._setting.granularity)

    def before_forward(self, step: int) -> None:
        """Say where the run is; project, when due."""
        self._step = step
        if self._start <= step < self._end and (step - self._start) % self._every == 0:
            self._project()
            self.history.add(step, distance=self._distance())

    def penalty(self) -> Tensor:
        """Return what draws the latents to their projections; 0 before the first and after the pruning."""
        if not self._nearest:
            return torch.zeros(())
        parts = [
            (latent - self._nearest[name] + self._dual[name]).square().sum() for name, latent in self._latents.items()
        ]
        return self._pressure / 2 * torch.stack(parts).sum()

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:
        """Prune, when it is time; then there is no weight step: the gradient is of other weights."""
        if step != self._end:
            return True
        distance = self._distance() if self._nearest else 0.0
        online, target = self._branches.online, self._branches.target
        masks = self._largest(masking.latent(target))
        with torch.no_grad():
            there = online.state_dict()
            for name, tensor in target.state_dict().items():
                if not name.endswith(".mask"):
                    there[name].copy_(tensor)
        self._branches.write(masks, optimizer, target=masking.read(target))
        optimizer.state.clear()
        self._nearest, self._dual = {}, {}
        self.history.add(step, distance=distance)
        return False

    def state(self) -> dict[str, object]:
        """Return projections and duals."""
        return {"nearest": dict(self._nearest), "dual": dict(self._dual)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore projections and duals."""
        self._nearest, self._dual = (
            {name: tensor.to(self._latents[name].device) for name, tensor in state[key].items()}
            for key in ("nearest", "dual")
        )

    @torch.no_grad()
    def _project(self) -> None:
        moved = {
            name: latent + self._dual.get(name, torch.zeros_like(latent)) for name, latent in self._latents.items()
        }
        masks = self._largest(moved)
        self._nearest = {name: weight * masks[name] for name, weight in moved.items()}
        self._dual = {name: weight - self._nearest[name] for name, weight in moved.items()}

    @torch.no_grad()
    def _distance(self) -> float:
        """Return how far the latents are from their projections, relatively."""
        apart = sum(float((latent - self._nearest[name]).square().sum()) for name, latent in self._latents.items())
        return float((apart / sum(float(latent.square().sum()) for latent in self._latents.values())) ** 0.5)

    def _largest(self, weights: Mapping[str, Tensor]) -> Masks:
        """Return the mask of each layer's filters with the largest norms."""
        return select(
            {name: weight.detach().square() for name, weight in weights.items()}, self._ones, self._setting.granularity
        )
