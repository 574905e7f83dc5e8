"""What is taken from a trained pair: plain encoders, and what their gates do on the scored images."""

import contextlib
from dataclasses import dataclass

from torch import Tensor, nn

from bench.ticks import Tick, silent
from bench.training import passes
from bench.training.state import Training
from bench.views.pixels import normalise
from methods.gating.control import GatedMethod
from methods.method import GateFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The encoders that are scored and kept.

    Attributes:
        encoder: the online one, plain, zeros baked in.
        target: with gates, the target's; the online one where both branches are one function; else ``None``.
        gates: what gates do on the scored images; ``None`` without gates.
    """

    encoder: nn.Module
    target: nn.Module | None
    gates: GateFacts | None

    @property
    def features(self) -> Tensor | None:
        """``[N, F]`` of the scored images, where they were made along the way."""
        return self.gates.features if self.gates else None


def exported(trained: Training, images: Tensor, tick: Tick = silent) -> Exported:
    """Export a trained pair.

    Args:
        trained: as training left it.
        images: that will be scored, uint8 ``[N, 3, H, W]``.
        tick: called after every batch of images that gates are shown.
    """
    framework, method = trained.framework, trained.method
    encoder = method.export(framework.online)
    device = next(framework.parameters()).device
    is_gated = isinstance(method, GatedMethod)
    with passes.told(framework.online, tick, "scoring") if is_gated else contextlib.nullcontext():
        gates = method.gate_facts(lambda: normalise(images.to(device)))
    if gates is None:
        return Exported(encoder=encoder, target=None, gates=None)
    is_one = framework.tied and not method.splits_branches
    target = encoder if is_one else method.export(framework.target)
    return Exported(encoder=encoder, target=target, gates=gates)
