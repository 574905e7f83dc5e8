"""Contrastive dual gating (CDG) and what it is compared with: one encoder, gates in both contrastive branches.

Source: Meng et al., CVPR 2022; of the paper only the abstract could be read, and the gate's details come from the
author's earlier public code. What follows is our reading (deviations 19 to 22 in results/deviations.md).
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor, nn

from methods.branches import Branches
from methods.gating.control import GatedMethod, Knob
from methods.gating.convolution import GatedConv2d, by_its_gate, install
from methods.gating.gate import ALL_ON, Gate
from methods.gating.layer import gated
from methods.gating.setting import GateSetting

GROUPS = 4  # with 2, which the author's scripts use, no ResNet-18 exceeds a reduction of 1.97
PENALTY = 1e-4  # weight of the thresholds' penalty in both authors' codes
AVERAGING = 0.99  # momentum of averaged gates, where the framework averages nothing


class Target(Enum):
    """What the gates of the target branch are."""

    OWN = "own thresholds and statistics, steered to the same reduction"
    AVERAGED = "thresholds that follow the online ones as a running mean, own statistics"
    SHARED = "the online gate: its thresholds and statistics, on its own view"
    FOLLOWING = "the online gate's decisions for the other view of the same image: a single gate for both; it leaks"
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
        self._single: list[SingleGate] = []

    @property
    def splits_branches(self) -> bool:
        """Whether the branches compute different functions of a view; with all gates on they do not."""
        return self._target is not Target.SHARED and not self.setting.is_all_on

    @property
    def lowest_share(self) -> float:
        """The base path's."""
        return 1 / GROUPS

    @property
    def leaks(self) -> bool:
        """True for a single gate: its decisions for view 0 name the image, and the target obeys them."""
        return self._target is Target.FOLLOWING and not self.setting.is_all_on

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
                single = SingleGate()
                self._single.append(single)
                layer.gate = online[path].gate
                online[path].decide, layer.decide = single.lead, single.follow
            else:
                layer.gate.deviation.requires_grad_(branches.tied and self._target is Target.OWN)
        if self.setting.is_all_on:
            self.begin(1.0)

    def begin(self, wanted: float) -> None:
        """Take the base path for normal."""
        aim = ALL_ON if self.setting.is_all_on else -self.probit(wanted)
        _set_aim(self.branches.online, aim)
        _set_aim(self.branches.target, aim)

    def before_forward(self, step: int) -> None:
        """Until steering starts, let the share fall to the wanted one."""
        if self.is_approaching(step):
            self.begin(self.approached(step))

    def knobs(self) -> dict[str, Knob]:
        """Return the branches' aims; but those of a target that follows are not steered."""
        knobs = {"aim": Knob(aim=_aim(self.branches.online))}
        return knobs | {"aim_target": Knob(aim=_aim(self.branches.target))} if self._target is Target.OWN else knobs

    def set_aims(self, aims: Mapping[str, float]) -> None:
        """Move the aims."""
        _set_aim(self.branches.online, aims["aim"])
        if self._target is Target.OWN:
            _set_aim(self.branches.target, aims["aim_target"])

    @torch.no_grad()
    def follow(self) -> None:
        """Settle the target's thresholds."""
        if self._target in {Target.OWN, Target.AVERAGED}:
            online = _layers(self.branches.online)
            for path, layer in _layers(self.branches.target).items():
                if self._target is Target.AVERAGED:
                    layer.gate.aim.lerp_(online[path].gate.aim, 1 - AVERAGING)
                    if self.branches.tied:
                        layer.gate.deviation.lerp_(online[path].gate.deviation, 1 - AVERAGING)
                elif not self.branches.tied:
                    layer.gate.deviation.zero_()  # what the framework's EMA has just brought over
        for single in self._single:
            single.decisions.clear()  # of a framework whose target sees nothing

    def penalty(self) -> Tensor:
        """Return ``PENALTY`` times the sum of squared deviations, each learned threshold once."""
        gates = [layer.gate for encoder in self.branches.learners for layer in _layers(encoder).values()]
        learned = dict.fromkeys(gate.deviation for gate in gates if gate.deviation.requires_grad)
        return PENALTY * torch.stack([deviation.square().sum() for deviation in learned]).sum()

    def part(self, plain: nn.Module) -> None:
        """Leave every layer with its own gate, and without what it counted in training."""
        for layer in _layers(plain).values():
            layer.decide = by_its_gate
            layer.tally.zero_()


@dataclass(slots=True)
class SingleGate:
    """One layer's decisions for both branches: the target's n-th pass does what the online encoder's n-th did.

    The frameworks pass the views that way round: online(view 0), target(view 1); and BYOL, being symmetric,
    online(view 0), online(view 1), target(view 1), target(view 0).

    Attributes:
        decisions: that the target has not taken over yet.
    """

    decisions: deque[Tensor] = field(default_factory=deque)

    def lead(self, gate: Gate, base: Tensor) -> Tensor:
        """Decide for the online encoder, and remember it."""
        gates = by_its_gate(gate, base)
        self.decisions.append(gates)
        return gates

    def follow(self, gate: Gate, base: Tensor) -> Tensor:  # noqa: ARG002 (what its own view says does not count)
        """Take over the oldest decision."""
        return self.decisions.popleft()


def _layers(encoder: nn.Module) -> dict[str, GatedConv2d]:
    return {path: layer for path, layer in gated(encoder).items() if isinstance(layer, GatedConv2d)}


def _aim(encoder: nn.Module) -> float:
    return next(iter(_layers(encoder).values())).gate.aim.item()


def _set_aim(encoder: nn.Module, aim: float) -> None:
    for layer in _layers(encoder).values():
        layer.gate.aim.fill_(aim)


__all__ = ["DualGate", "Target"]
