"""The online and the target encoder as a pair, and how masks are written to both."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from methods import masking
from methods.masking import Masks


@dataclass(frozen=True, slots=True)
class Branches:
    """The two contrastive branches of a framework.

    Attributes:
        online: sees view 0, receives gradients, is exported.
        target: sees view 1: the EMA copy (BYOL, MoCo) or the tied twin (SimCLR, Barlow Twins).
        tied: True if both hold the same ``Parameter`` objects, each with its own mask buffers, and both are trained.

    Raises:
        ValueError: an encoder has no masks installed.
    """

    online: nn.Module
    target: nn.Module
    tied: bool

    def __post_init__(self) -> None:
        for name, encoder in (("online", self.online), ("target", self.target)):
            if not masking.is_installed(encoder):
                raise ValueError(
                    f"{name} encoder: masks are not installed: call methods.masking.install(encoder) first, and make "
                    "the target from the encoder after that."
                )

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
        before = None if optimizer is None else self._acting()
        if target is None:
            masking.write_alike((self.online, self.target), masks)
        else:
            masking.write(self.online, masks)
            masking.write(self.target, target)
        if optimizer is not None and before is not None:
            masking.settle(self.online, before, self._acting(), optimizer)
        if candidates == "active":
            masking.forget(self.online, self._acting())
            if not self.tied:
                masking.forget(self.target, masking.read(self.target))

    def watch(self) -> None:
        """Start summing the dense gradient of whatever moves the latents. Call it before the forward pass."""
        for module in self.learners:
            masking.watch(module, enabled=True)

    def let_straight(self) -> None:
        """From now on give the latents the whole gradient, at masked positions too: ``masking.let_straight``."""
        for module in self.learners:
            masking.let_straight(module)

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
