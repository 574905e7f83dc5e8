"""Channel gating (CGNet): the first input channels for every pixel, the others where what they gave looks promising."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from methods.branches import Branches
from methods.gating.control import GatedMethod, Knob
from methods.gating.convolution import GatedConv2d, install
from methods.gating.gate import ALL_ON, Gate
from methods.gating.layer import gated
from methods.gating.setting import GateSetting, require_no_slices

GROUPS = 4  # "partitions" of the authors' CIFAR script: the base path reads a quarter of the input channels
PENALTY = 1e-4  # weight of the thresholds' penalty, ibid.


class ChannelGate(GatedMethod):
    """One gate per layer for both branches, with thresholds learned per output channel.

    It decides per output channel and pixel from the normalised output of the first input channels. A tied pair
    shares the gate, its statistics included; the gate of an EMA target follows the online one like any weight and has
    statistics of its own, like any normalisation.

    The thresholds' penalty depends on no view, so it is added once. Where the authors fix the thresholds' aim and let
    the reduction fall where it may, the aim is steered here. They gate the first convolution of a block alone, which
    cannot save enough for the larger reductions: here all 3x3 convolutions behind the stem are gated.

    Source: Hua et al., NeurIPS 2019, section 3; constants of the authors' CIFAR script (deviation 23).

    Args:
        setting: reduction.

    Raises:
        ValueError: if the setting asks for slices.
    """

    def __init__(self, setting: GateSetting) -> None:
        require_no_slices(setting, "channel gating")
        super().__init__(setting)

    @property
    def lowest_share(self) -> float:
        """The base path's."""
        return 1 / GROUPS

    def install(self, branches: Branches) -> None:
        """Gate every 3x3 block convolution of both encoders."""
        for encoder in (branches.online, branches.target):
            install(encoder, groups=GROUPS, partition="first")
        target = _layers(branches.target)
        for path, layer in _layers(branches.online).items():
            target[path].gate = layer.gate if branches.tied else copy.deepcopy(layer.gate).requires_grad_(False)
        if self.setting.is_all_on:
            self.begin(1.0)

    def begin(self, wanted: float) -> None:
        """Take the base path for normal."""
        for encoder in (self.branches.online, self.branches.target):
            _aim(encoder, ALL_ON if self.setting.is_all_on else -self.probit(wanted))

    def before_forward(self, step: int) -> None:
        """Until steering starts, let the share fall to the wanted one."""
        if self.is_approaching(step):
            self.begin(self.approached(step))

    def knobs(self) -> dict[str, Knob]:
        """Return each branch's aim: a tied pair has one, but below an EMA statistics and deviations lag."""
        knobs = {"aim": Knob(aim=_gates(self.branches.online)[0].aim.item())}
        if not self.branches.tied:
            knobs["aim_target"] = Knob(aim=_gates(self.branches.target)[0].aim.item())
        return knobs

    def set_aims(self, aims: Mapping[str, float]) -> None:
        """Move the aims."""
        _aim(self.branches.online, aims["aim"])
        if not self.branches.tied:
            _aim(self.branches.target, aims["aim_target"])

    def penalty(self) -> Tensor:
        """Return ``PENALTY`` times the sum of squared distances of the thresholds from their aim."""
        return PENALTY * torch.stack([gate.deviation.square().sum() for gate in _gates(self.branches.online)]).sum()


def _layers(encoder: nn.Module) -> dict[str, GatedConv2d]:
    return {path: layer for path, layer in gated(encoder).items() if isinstance(layer, GatedConv2d)}


def _gates(encoder: nn.Module) -> list[Gate]:
    return [layer.gate for layer in _layers(encoder).values()]


def _aim(encoder: nn.Module, aim: float) -> None:
    for gate in _gates(encoder):
        gate.aim.fill_(aim)


__all__ = ["ChannelGate"]
