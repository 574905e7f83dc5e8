"""The contract between a sparse method and the training loop."""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from methods import masking
from methods.branches import Branches
from methods.history import History
from methods.masking import Masks
from methods.setting import (
    Setting,
    require_elementwise,
    require_no_period,
    require_no_ramp,
    require_one_mask,
    require_pattern,
    require_units,
)
from methods.stages import Stage


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

    Attributes:
        history: where a method notes each update; recorded, saved and restored here.
    """

    def __init__(self) -> None:
        self.history = History()

    @property
    def splits_branches(self) -> bool:
        """Whether the two branches get different masks, and so need running statistics of their own."""
        return False

    @property
    def window(self) -> tuple[float, float] | None:
        """Fractions of the run between which masks change, if these are the method's own and not the setting's."""
        return None

    @property
    def ends_dense(self) -> bool:
        """Whether the run ends without masks, so that its density is that of training alone."""
        return False

    @property
    def follows_weights(self) -> bool:
        """Whether masks are taken from the weights in every step; the history then notes only some of the updates."""
        return False

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What follows the first stage of the run, in the order of the steps; nothing for most. After ``attach``."""
        return ()

    def attach(self, branches: Branches, total_steps: int) -> None:  # noqa: B027
        """Write the first masks. After install and copy or twin, before the optimizer is made."""

    def final_from(self, total_steps: int) -> int | None:  # noqa: ARG002 (a default that knows of no such step)
        """Return the first step of a run after whose predecessor no mask is written; ``None``: weights may come back.

        Args:
            total_steps: of the run.
        """
        return None

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

    @final
    def facts(self) -> Facts:
        """Return what is worth recording: the history."""
        return Facts(update_steps=self.history.update_steps, curves=self.history.curves)

    def gate_facts(self, scored: Callable[[], Tensor]) -> GateFacts | None:  # noqa: ARG002
        """Return what the gates do on the scored images; None without gates.

        Args:
            scored: gives the images, normalised ``[N, C, H, W]``; called only where there are gates.
        """
        return None

    @final
    def export(self, encoder: nn.Module) -> nn.Module:
        """Return a plain copy of one branch's encoder, zeros baked in."""
        plain = masking.export(encoder)
        self.part(plain)
        return plain

    def part(self, plain: nn.Module) -> None:  # noqa: B027
        """Cut, in place, whatever ties a copy made for export to the other branch."""

    @final
    def state_dict(self) -> dict[str, object]:
        """Return what the masks cannot tell, as tensors, numbers, strings and containers of these."""
        return {"history": self.history.state_dict(), **self.state()}

    @final
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.restore({name: value for name, value in state.items() if name != "history"})
        self.history.load_state_dict(state["history"])

    def state(self) -> dict[str, object]:
        """Return what neither the masks nor the history can tell; nothing for most methods."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned.

        Raises:
            ValueError: there is something, but this method keeps nothing.
        """
        if state:
            name = type(self).__name__
            raise ValueError(f"{name} keeps no state, but the checkpoint holds {sorted(state)}.")


__all__ = [
    "Branches",
    "Facts",
    "GateFacts",
    "Masks",
    "Setting",
    "SparseMethod",
    "Stage",
    "require_elementwise",
    "require_no_period",
    "require_no_ramp",
    "require_one_mask",
    "require_pattern",
    "require_units",
]
