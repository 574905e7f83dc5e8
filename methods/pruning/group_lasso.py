"""Group lasso: weak blocks or filters are pulled to 0 as a whole; the density that gives is projected to the budget."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from methods import masking, scores
from methods.allocation import fitting, ranked
from methods.branches import Branches
from methods.granularity.base import WholeUnits, highest
from methods.granularity.select import select
from methods.masking import Masks
from methods.method import SparseMethod
from methods.schedule import window
from methods.setting import Setting, require_no_ramp, require_one_mask, require_units

LEVELS = 7  # of a sign, of the authors' 4-bit weights, up to twice a layer's mean magnitude


class GroupLasso(SparseMethod):
    """Penalise the norm of those groups that the budget will not keep; at 80 % of the run, remove exactly these.

    Up to the projection every mask is one, and the loss has ``penalty`` times the sum of the Euclidean norms of the
    groups that rank lowest by mean magnitude: as many as must go. How many are gone by then *emerges*: the curve
    ``emergent_density`` is the share of weights in groups that are not, where a group is gone if the authors' 4-bit
    weights would be 0 in all of it, that is if every magnitude lies below half a level, a seventh of the layer's mean
    magnitude. Then the groups that rank highest are kept, exactly as many as the density asks for (the curve
    ``density``), and trained on without a penalty. Both branches get the same mask.

    Source: Meng et al. 2021, the authors' chip line: GroupLasso_Quant (commit 1c54c94, utils.py: ``glasso_global_mp``
    and ``train``; resnet_cifar_swp.sh: 0.002, ratio 0.5; models/quant/quant_layer.py: ``odd_symm_quant``) and
    StructuredCG_RRAM (commit 75a7d35, utils.py, line 199). Deviation 34 in results/deviations.md.

    Args:
        setting: a block or filters, and the density they are projected to.
        penalty: weight of the norms in the loss.
        projection_fraction: of the run, when the masks are written.
    """

    def __init__(self, setting: Setting, *, penalty: float = 0.002, projection_fraction: float = 0.8) -> None:
        super().__init__()
        require_units(setting, "group lasso")
        require_no_ramp(setting, "group lasso")
        require_one_mask(setting, "group lasso")
        if not 0.0 <= projection_fraction <= 0.9:
            raise ValueError(
                f"projection_fraction {projection_fraction} is outside [0, 0.9]: what is left must be trained on."
            )
        self._setting = setting
        self._penalty = penalty
        self._projection_fraction = projection_fraction
        self._step = 0

    @property
    def window(self) -> tuple[float, float]:
        """The moment of the projection."""
        return self._projection_fraction, self._projection_fraction

    def final_from(self, total_steps: int) -> int:
        """Return the step behind the projection."""
        return self._projection(total_steps) + 1

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Plan the projection; the masks stay ones until then."""
        self._branches = branches
        self._latents = masking.latent(branches.online)
        fitting({name: weight.shape for name, weight in self._latents.items()}, self._setting.granularity)
        self._due = self._projection(total_steps)

    def before_forward(self, step: int) -> None:
        """Know whether there is still something to penalise."""
        self._step = step

    def penalty(self) -> Tensor:
        """Return the norms of the groups that are to go, weighted; 0 behind the projection.

        Its gradient pulls each of these groups along its own direction, and a group of zeros not at all, where the
        formula has no number.
        """
        like = next(iter(self._latents.values()))
        if self._step > self._due:
            return like.new_zeros(())
        granularity, magnitudes = self._setting.granularity, scores.magnitude(self._latents)
        assert isinstance(granularity, WholeUnits)  # as `require_units` has asked
        fit = [name for name, magnitude in magnitudes.items() if granularity.fits(magnitude.shape)]
        strengths = {name: granularity.pooled(magnitudes[name]) for name in fit}
        ones = ranked(magnitudes, self._setting.density, granularity, pooled=strengths).ones
        fit = [name for name in fit if ones[name] < magnitudes[name].numel()]  # of the others, all groups stay
        if not fit:
            return like.new_zeros(())
        norms = {name: granularity.pooled(magnitudes[name].square()) for name in fit}
        stays = [
            highest(strengths[name], ones[name] // granularity.size(magnitudes[name].shape)).reshape(-1) for name in fit
        ]
        # From here on all groups at once, as small layers cost by the call.
        together = torch.cat([norm.reshape(-1) for norm in norms.values()]).sqrt_().masked_fill_(torch.cat(stays), 0.0)
        inverse = together.reciprocal().masked_fill_(together == 0.0, 0.0).to(like)
        parts = inverse.split([norm.numel() for norm in norms.values()])
        pulls = [
            self._latents[name].detach() * granularity.spread(part, magnitudes[name].shape)
            for name, part in zip(fit, parts, strict=True)
        ]
        pulled: Tensor = _Pulled.apply(together.sum().to(like), pulls, *(self._latents[name] for name in fit))
        return self._penalty * pulled

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:
        """Project, when due."""
        if step == self._due:
            masks, emergent = self._kept(), self._emergent_density()
            self._branches.write(masks, optimizer, candidates="active")
            kept = sum(int(mask.count_nonzero()) for mask in masks.values())
            self.history.add(
                step, emergent_density=emergent, density=kept / sum(mask.numel() for mask in masks.values())
            )
        return True

    def _projection(self, total_steps: int) -> int:
        """Return the step that the masks are written in."""
        due, _, _ = window(total_steps, self._projection_fraction, self._projection_fraction, 1.0)
        return due

    def _kept(self) -> Masks:
        """Return the masks that the budget would keep now."""
        granularity, magnitudes = self._setting.granularity, scores.magnitude(self._latents)
        return select(magnitudes, ranked(magnitudes, self._setting.density, granularity).ones, granularity)

    def _emergent_density(self) -> float:
        granularity, left = self._setting.granularity, 0
        for magnitude in scores.magnitude(self._latents).values():
            if granularity.fits(magnitude.shape):
                counts = magnitude >= magnitude.mean() / LEVELS
                left += int((granularity.spread(granularity.pooled(counts), magnitude.shape) > 0).count_nonzero())
            else:
                left += magnitude.numel()
        return left / sum(weight.numel() for weight in self._latents.values())


class _Pulled(torch.autograd.Function):
    """A value with a gradient that is known: for all weights at once, as small layers cost by the call."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, pulls: list[Tensor], *weights: Tensor) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(*pulls)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *(gradients[0] * pull for pull in ctx.saved_tensors))
