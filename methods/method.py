"""The contract between a sparse method and the training loop."""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from methods import masking
from methods.granularity.base import Elementwise, Granularity
from methods.masking import Masks


@dataclass(frozen=True, slots=True)
class Branches:
    """The two contrastive branches of a framework.

    Attributes:
        online: sees view 0, receives gradients, is exported.
        target: sees view 1: the EMA copy (BYOL, MoCo) or the tied twin (SimCLR, Barlow Twins).
        tied: True if both hold the same ``Parameter`` objects, each with its own mask buffers, and both are trained.
    """

    online: nn.Module
    target: nn.Module
    tied: bool

    @property
    def learners(self) -> tuple[nn.Module, ...]:
        """The modules whose gradients move the latents: both of a tied pair, else the online one."""
        return (self.online, self.target) if self.tied else (self.online,)

    def write(
        self,
        masks: Masks,
        optimizer: Optimizer | None = None,
        *,
        target: Masks | None = None,
        candidates: Literal["all", "active"] = "all",
    ) -> None:
        """Write ``masks`` to the online encoder and ``target`` (default: the same) to the target.

        A tied latent acts as long as either mask keeps it, and its optimizer state is settled by that.

        Args:
            masks: of the online encoder.
            optimizer: to be settled; ``None`` before it exists.
            target: of the target.
            candidates: what a weight is that may come back. ``all``: the latent it had, which lives on unseen.
                ``active``: 0, because only active weights have a value; every latent that does not act becomes 0,
                in both branches.

        Raises:
            ValueError: as ``masking.write``.
        """
        before = self._acting()
        masking.write(self.online, masks)
        masking.write(self.target, masks if target is None else target)
        if optimizer is not None:
            masking.settle(self.online, before, self._acting(), optimizer)
        if candidates == "active":
            masking.forget(self.online, self._acting())
            if not self.tied:
                masking.forget(self.target, masking.read(self.target))

    def watch(self) -> None:
        """Start summing the dense gradient of whatever moves the latents. Call it before the forward pass."""
        for module in self.learners:
            masking.watch(module, enabled=True)

    def dense_gradient(self) -> dict[str, Tensor]:
        """Return the dense gradient, of both modules of a tied pair together, and stop watching.

        Raises:
            RuntimeError: as ``masking.dense_gradient``.
        """
        gradient = masking.dense_gradient(*self.learners)
        for module in self.learners:
            masking.watch(module, enabled=False)
        return gradient

    def _acting(self) -> Masks:
        acting = masking.read(self.online)
        if self.tied:
            other = masking.read(self.target)
            acting = {path: torch.maximum(mask, other[path]) for path, mask in acting.items()}
        return acting


START_FRACTION, END_FRACTION = 0.30, 0.68  # scaled from the SyncCP authors' N:M script: epochs 30 and 68 of 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What one cell of a table chooses for its method. Fractions are of the optimizer steps of the run.

    Attributes:
        density: fraction of the prunable weights kept at the end, in (0, 1].
        gap: density of the target's mask minus density of the online mask (synchronized pruning); with an N:M
            pattern, fraction of its groups that are dense minus that of the online encoder.
        granularity: which shapes may go.
        start_fraction: first update of a density ramp.
        end_fraction: last update of a density ramp.
        period_fraction: distance of two mask updates.
        seed: seed of the method's own random generator (random masks, random growth).
    """

    density: float
    seed: int
    gap: float = 0.0
    granularity: Granularity = field(default_factory=Elementwise)
    start_fraction: float = START_FRACTION
    end_fraction: float = END_FRACTION
    period_fraction: float = 1 / 40

    def __post_init__(self) -> None:
        if not 0.0 < self.density <= 1.0:
            raise ValueError(f"density {self.density} is outside (0, 1]: it is the fraction of weights kept.")
        if not 0.0 <= self.gap <= 1.0:
            raise ValueError(
                f"density gap {self.gap} is outside [0, 1]: the target keeps so much more than the online encoder."
            )
        if not 0.0 <= self.start_fraction <= self.end_fraction <= 0.9:
            raise ValueError(
                f"mask updates from {self.start_fraction} to {self.end_fraction} of the run: start must not "
                "exceed end, and the last update must lie at least 10 % of the steps before the end."
            )
        if not 0.0 < self.period_fraction <= 1.0:
            raise ValueError(f"period_fraction {self.period_fraction} is outside (0, 1].")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a method says about itself; numbers, or ``None`` where the notion does not apply.

    Attributes:
        update_steps: optimizer steps (counted from 0) after which a mask was rewritten, or a gate's budget steered.
        curves: named values along training, one entry per update, e.g. online/target overlap.
    """

    update_steps: tuple[int, ...] = ()
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFacts:
    """What gates did, for the record; only methods that gate activations have them.

    Attributes:
        online_share: forward MACs of the online encoder in training, as a fraction of the dense encoder's: the mean
            over all its passes, overhead included.
        target_share: the same of the target.
        facts: named properties, measured on the scored images; they replace the facts of the same name.
        features: ``[N, F]``, of the online encoder on the scored images, seen along the way.
        maps: per branch and layer, ``BRANCH/LAYER``, fraction of gates on at each pixel of the first scored images.
    """

    online_share: float
    target_share: float
    facts: Mapping[str, object]
    features: Tensor
    maps: Mapping[str, Tensor]


class SparseMethod(abc.ABC):  # noqa: B024 (every moment has the same sensible default)
    """One sparse training method. "Nothing happens" is the only default a subclass replaces.

    The loop calls, per optimizer step: ``before_forward``, forward and backward (``penalty`` is added to
    the loss), ``on_gradient`` once gradients are reduced, the optimizer, the target update, ``on_step``.
    """

    @property
    def splits_branches(self) -> bool:
        """Whether the two branches get different masks, and so need running statistics of their own."""
        return False

    def attach(self, branches: Branches, total_steps: int) -> None:  # noqa: B027
        """Write the first masks. After install and copy or twin, before the optimizer is made."""

    def hold_out(self, images: Tensor) -> None:  # noqa: B027
        """Take normalised images ``[N, C, H, W]`` that nobody trains on, to measure with. After ``attach``."""

    def before_forward(self, step: int) -> None:  # noqa: B027
        """Prepare the step, e.g. start watching the dense gradient."""

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:  # noqa: ARG002
        """Act on reduced gradients. False: no weight step now (RigL); schedule, EMA and counter go on."""
        return True

    def on_step(self, step: int) -> None:  # noqa: B027
        """Act after the weight step and the target update."""

    def penalty(self) -> Tensor:
        """Return a scalar to add to the loss."""
        return torch.zeros(())

    def facts(self) -> Facts:
        """Return what is worth recording."""
        return Facts()

    def gate_facts(self, scored: Callable[[], Tensor]) -> GateFacts | None:  # noqa: ARG002
        """Return what the gates do on the scored images; None without gates.

        Args:
            scored: gives the images, normalised ``[N, C, H, W]``; called only where there are gates.
        """
        return None

    def export(self, encoder: nn.Module) -> nn.Module:
        """Return a plain copy of one branch's encoder, zeros baked in."""
        return masking.export(encoder)

    def state_dict(self) -> dict[str, object]:
        """Return what the masks cannot tell, as tensors, numbers, strings and containers of them."""
        return {}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore what ``state_dict`` returned."""
        if state:
            name = type(self).__name__
            raise ValueError(f"{name} keeps no state, but the checkpoint holds {sorted(state)}.")


def require_elementwise(setting: Setting, method: str) -> None:
    """Refuse a setting that asks ``method`` for shapes it cannot prune.

    Raises:
        ValueError: unless the granularity is ``Elementwise``.
    """
    if setting.granularity != Elementwise():
        raise ValueError(
            f"{method} prunes single weights, but the granularity is {setting.granularity.name}: use 'element'."
        )


def require_no_ramp(setting: Setting, method: str) -> None:
    """Refuse a setting that chooses the window of a density ramp for ``method``, which has none.

    Raises:
        ValueError: unless both fractions have their defaults.
    """
    if (setting.start_fraction, setting.end_fraction) != (START_FRACTION, END_FRACTION):
        raise ValueError(
            f"{method} keeps one density and has a window of its own, but the setting asks for a ramp from "
            f"{setting.start_fraction} to {setting.end_fraction} of the run: leave both out."
        )


def require_one_mask(setting: Setting, method: str) -> None:
    """Refuse a density gap for ``method``, which writes one mask to both branches.

    Raises:
        ValueError: if there is a gap.
    """
    if setting.gap:
        raise ValueError(f"{method} writes one mask to both branches: gap {setting.gap} must be 0.")


__all__ = [
    "Branches",
    "Facts",
    "GateFacts",
    "Masks",
    "Setting",
    "SparseMethod",
    "require_elementwise",
    "require_no_ramp",
    "require_one_mask",
]
