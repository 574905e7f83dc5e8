"""LARS that sees the weights that act, not the latents behind a mask."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightly.models.utils import get_weight_decay_parameters
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.config.run import OptimizerSpec
from bench.frameworks.base import Framework
from bench.training.trained_once import trained_once
from methods import masking
from methods.branches import Branches

Acting = Callable[[], Mapping[nn.Parameter, Tensor]]


class LARS(Optimizer):
    """SGD with momentum whose step in each weight is scaled to the weight's own norm.

    With w a weight, w' the entries of it that act, g its gradient (0 where nothing acts), lr the learning rate and
    d the weight decay, a scaled group moves by ``lr * rate * (g + d w)``, momentum on top, with
    ``rate = trust |w'| / (|g| + d |w'| + epsilon)``; clipped, ``rate = min(rate / lr, 1)``, so that a step is at most
    that of SGD. A weight whose norm or gradient is 0 moves as in SGD without decay. No number leaves the device.

    Source: You et al. 2017 (arXiv 1708.03888), equation 6, as in Lightly's and solo-learn's optimizers, to which it is
    equal where nothing is masked; ``clip`` is solo-learn's ``clip_lars_lr``. The norm of w' instead of w is ours: |w|
    counts what a mask leaves out for some methods and not for others, which clear it, so that they took other steps.

    Args:
        groups: of parameters; each with ``is_scaled``, and ``weight_decay``, which only a scaled group uses.
        learning_rate: lr; ``lr`` in the groups, where schedulers look for it.
        momentum: of the velocity.
        trust: trust coefficient.
        clip: see above.
        acting: gives the masks, 0. or 1., of the parameters of which only a part acts.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        learning_rate: float,
        momentum: float,
        trust: float,
        clip: bool = False,
        acting: Acting = dict,
    ) -> None:
        super().__init__(groups, {"lr": learning_rate, "momentum": momentum, "trust": trust, "clip": clip})
        self._acting = acting

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 (torch's signature)
        """Move all parameters that have a gradient."""
        acting = self._acting()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            steps = [weight.grad for weight in weights]
            if group["is_scaled"]:
                steps = _scaled(weights, steps, acting, group)
            moving = [(weight, each) for weight, each in zip(weights, steps, strict=True) if self._moves(weight)]
            if moving:  # on lists: one launch on a device, not one for each weight
                before = [self.state[weight]["momentum_buffer"] for weight, _ in moving]
                torch._foreach_mul_(before, group["momentum"])
                torch._foreach_add_(before, [each for _, each in moving])
            for weight, each in zip(weights, steps, strict=True):
                if not self._moves(weight):
                    self.state[weight]["momentum_buffer"] = each.clone()
            velocities = [self.state[weight]["momentum_buffer"] for weight in weights]
            torch._foreach_add_(weights, velocities, alpha=-group["lr"])

    def _moves(self, weight: nn.Parameter) -> bool:
        return "momentum_buffer" in self.state[weight]


def _scaled(
    weights: list[nn.Parameter],
    gradients: list[Tensor],
    acting: Mapping[nn.Parameter, Tensor],
    group: Mapping[str, Any],
) -> list[Tensor]:
    """Return ``rate * (g + d w)`` of each weight."""
    decay, epsilon = group["weight_decay"], 1e-8  # Lightly's and solo-learn's
    seen = [weight * acting[weight] if weight in acting else weight for weight in weights]
    norms, slopes = (torch.stack(torch._foreach_norm(each)) for each in (seen, gradients))  # noqa: SLF001
    rate = group["trust"] * norms / (slopes + decay * norms + epsilon)
    if group["clip"]:
        rate = (rate / group["lr"]).clamp(max=1.0)
    is_scaled = (norms > 0) & (slopes > 0)
    rates = torch.where(is_scaled, rate, 1.0).unbind()
    decays = torch.where(is_scaled, decay * rate, 0.0).unbind()
    return [
        gradient * each + weight * shrink
        for weight, gradient, each, shrink in zip(weights, gradients, rates, decays, strict=True)
    ]


class ActingMasks:
    """The masks of latents of which only a part acts; read anew only after one was written.

    Args:
        branches: after masks were installed. A tied latent acts as long as either mask keeps it.
    """

    def __init__(self, branches: Branches) -> None:
        self._branches = branches
        self._layers = [masking.Layers(learner) for learner in branches.learners]
        self._seen: tuple[int, ...] | None = None
        self._masks: dict[nn.Parameter, Tensor] = {}

    def __call__(self) -> Mapping[nn.Parameter, Tensor]:
        """Return the masks that are not all ones, by their latent."""
        seen = tuple(layers.version for layers in self._layers)
        if seen != self._seen:
            self._seen = seen
            masks = [masking.read(learner) for learner in self._branches.learners]
            acting = {path: torch.stack([each[path] for each in masks]).amax(0) for path in masks[0]}
            latents = masking.latent(self._branches.online)
            self._masks = {latents[path]: mask for path, mask in acting.items() if not bool(mask.all())}
        return self._masks


def lars(spec: OptimizerSpec, framework: Framework) -> Optimizer:
    """Build the optimizer of a framework.

    It scales by the norm of what acts, and leaves norms and biases out of decay and scaling, as You et al. (2017) do;
    deviation 7.
    """
    weights, others = get_weight_decay_parameters([framework])
    decayed = [weight for weight in weights if weight.ndim > 1]  # thresholds of gates are no weights either
    others += [weight for weight in weights if weight.ndim <= 1]
    assert spec.trust_coefficient is not None
    return LARS(
        [
            {"params": trained_once(decayed), "weight_decay": spec.weight_decay, "is_scaled": True},
            {"params": trained_once(others), "weight_decay": 0.0, "is_scaled": False},
        ],
        learning_rate=spec.learning_rate,
        momentum=spec.momentum,
        trust=spec.trust_coefficient,
        clip=spec.clip_lr,
        acting=ActingMasks(framework.branches),
    )


__all__ = ["LARS", "Acting", "ActingMasks", "lars"]
