"""Contrastive dual gating (CDG) and what it is compared with: one encoder, gates in both contrastive branches.

Source: Meng et al., CVPR 2022; of the paper only the abstract could be read, and the gate's details come from the
author's earlier public code. What follows is our reading (deviations 19 to 22 in results/deviations.md).
"""

from collections import deque
from collections.abc import Mapping
from enum import Enum

import torch
from torch import Tensor, nn

from methods import masking
from methods.branches import Branches
from methods.gating.control import GatedMethod
from methods.gating.convolution import GatedConv2d, install
from methods.gating.gate import ALL_ON, Gate
from methods.gating.layer import gated, replace
from methods.gating.setting import GateSetting

GROUPS = 4  # with 2, which the author's scripts use, no ResNet-18 exceeds a reduction of 1.97
PENALTY = 1e-4  # weight of the thresholds' penalty in both authors' codes
AVERAGING = 0.99  # momentum of averaged gates, where the framework averages nothing


class Target(Enum):
    """What the gates of the target branch are."""

    OWN = "own thresholds and statistics, steered to the same reduction"
    AVERAGED = "thresholds that follow the online ones as a running mean, own statistics"
    SHARED = "the online gate: its thresholds and statistics, on its own view"
    FOLLOWING = "the online gate's decisions for the other view of the same image: a single gate for both"
    UNGATED = "none: the branch is dense"


class DualGate(GatedMethod):
    """A gated encoder whose target branch has gates of one of five kinds; ``OWN`` is dual gating.

    The controller moves each branch's aim so that the rate on the held-out images is the wanted one. As the base path
    is normalised, a layer needs a step on a normal distribution: ``aim += probit(found) - probit(wanted)``.
    Source: ours; CGNet fixes the aim and lets the rate fall where it may.

    In a framework with an EMA target, no gradient reaches the target's thresholds: own ones stay at their aim, where
    their penalty alone would take them. Averaged ones follow the EMA, their aim and a tied pair's with ``AVERAGING``.

    Args:
        setting: reduction and slices.
        target: the kind of the target branch's gates.
    """

    def __init__(self, setting: GateSetting, *, target: Target) -> None:
        super().__init__(setting)
        self._target = target
        self._decisions: list[deque[Tensor]] = []

    @property
    def splits_branches(self) -> bool:
        """Whether the branches compute different functions of a view; with all gates on they do not."""
        return self._target is not Target.SHARED and not self.setting.is_all_on

    @property
    def lowest_share(self) -> float:
        """The base path's."""
        return 1 / GROUPS

    def install(self, branches: Branches) -> None:
        """Gate every 3x3 block convolution of both encoders."""
        for encoder in (branches.online, branches.target):
            install(encoder, groups=GROUPS, slice_channels=self.setting.slice_channels)
        online = _layers(branches.online)
        for path, layer in _layers(branches.target).items():
            layer.is_bypassed = self._target is Target.UNGATED
            if self._target is Target.SHARED:
                layer.gate = online[path].gate
            elif self._target is Target.FOLLOWING and not self.setting.is_all_on:
                decisions = deque[Tensor]()
                self._decisions.append(decisions)
                replace(branches.online, path, _Leader(online[path], online[path].gate, decisions))
                replace(branches.target, path, _Follower(layer, online[path].gate, decisions))
            else:
                layer.gate.deviation.requires_grad_(branches.tied and self._target is Target.OWN)
        if self.setting.is_all_on:
            self.begin(1.0)

    def begin(self, wanted: float) -> None:
        """Take the base path for normal."""
        aim = ALL_ON if self.setting.is_all_on else -self.probit(wanted)
        _set_aim(self.branches.online, aim)
        _set_aim(self.branches.target, aim)

    def aims(self) -> dict[str, float]:
        """Return the branches' aims; but those of a target that follows are not steered."""
        aims = {"aim": _aim(self.branches.online)}
        return aims | {"aim_target": _aim(self.branches.target)} if self._target is Target.OWN else aims

    def set_aims(self, aims: Mapping[str, float]) -> None:
        """Move the aims."""
        _set_aim(self.branches.online, aims["aim"])
        if self._target is Target.OWN:
            _set_aim(self.branches.target, aims["aim_target"])

    @torch.no_grad()
    def on_step(self, step: int) -> None:
        """Settle the target's thresholds; measure and steer, when due."""
        if self._target in {Target.OWN, Target.AVERAGED}:
            online = _layers(self.branches.online)
            for path, layer in _layers(self.branches.target).items():
                if self._target is Target.AVERAGED:
                    layer.gate.aim.lerp_(online[path].gate.aim, 1 - AVERAGING)
                    if self.branches.tied:
                        layer.gate.deviation.lerp_(online[path].gate.deviation, 1 - AVERAGING)
                elif not self.branches.tied:
                    layer.gate.deviation.zero_()  # what the framework's EMA has just brought over
        for decisions in self._decisions:
            decisions.clear()  # of a framework whose target sees nothing
        super().on_step(step)

    def penalty(self) -> Tensor:
        """Return ``PENALTY`` times the sum of squared deviations, each learned threshold once."""
        gates = [layer.gate for encoder in self.branches.learners for layer in _layers(encoder).values()]
        learned = dict.fromkeys(gate.deviation for gate in gates if gate.deviation.requires_grad)
        return PENALTY * torch.stack([deviation.square().sum() for deviation in learned]).sum()

    def export(self, encoder: nn.Module) -> nn.Module:
        """Return a plain copy of one branch's encoder with its own gates, for inference alone."""
        plain = masking.export(encoder)
        for path, layer in _layers(plain).items():
            alone = GatedConv2d(layer.conv, layer.gate, groups=layer.groups, partition=layer.partition)
            alone.is_bypassed = layer.is_bypassed
            replace(plain, path, alone)
        return plain


class _Leader(GatedConv2d):
    """Tells its follower what it decides, pass by pass."""

    def __init__(self, layer: GatedConv2d, gate: Gate, decisions: deque[Tensor]) -> None:
        super().__init__(layer.conv, gate, groups=layer.groups, partition=layer.partition)
        self._decisions = decisions

    def decide(self, base: Tensor) -> Tensor:
        gates = super().decide(base)
        self._decisions.append(gates)
        return gates


class _Follower(GatedConv2d):
    """Does in its n-th pass what its leader decided in its n-th: for the other view of the same images.

    The frameworks pass the views that way round: online(view 0), target(view 1); and BYOL, being symmetric,
    online(view 0), online(view 1), target(view 1), target(view 0).
    """

    def __init__(self, layer: GatedConv2d, gate: Gate, decisions: deque[Tensor]) -> None:
        super().__init__(layer.conv, gate, groups=layer.groups, partition=layer.partition)
        self._decisions = decisions

    def decide(self, base: Tensor) -> Tensor:  # noqa: ARG002 (what its own view says does not count)
        return self._decisions.popleft()


def _layers(encoder: nn.Module) -> dict[str, GatedConv2d]:
    return {path: layer for path, layer in gated(encoder).items() if isinstance(layer, GatedConv2d)}


def _aim(encoder: nn.Module) -> float:
    return next(iter(_layers(encoder).values())).gate.aim.item()


def _set_aim(encoder: nn.Module, aim: float) -> None:
    for layer in _layers(encoder).values():
        layer.gate.aim.fill_(aim)


__all__ = ["DualGate", "Target"]
