"""Gates that keep exactly k channels per image, and how many each layer keeps to spend what the network may."""

import abc
import functools
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from methods.gating.control import GatedMethod, Knob
from methods.gating.layer import Gated, gated
from methods.gating.setting import GateSetting, require_no_slices

TYPICAL: float = (2 * math.pi) ** -0.5  # mean of a rectified normal variable: what predictors are initialised for


def proportions(means: Tensor) -> Tensor:
    """Return an image's channel means ``[N, C]`` relative to each other, their mean being ``TYPICAL``.

    Predictors ask for these. Source: ours. A saliency that multiplies features and grows with them squares an image's
    scale in every layer, and eight layers later, trained from scratch, features overflowed (deviation 24).
    """
    scale: Tensor = TYPICAL / means.mean(1, keepdim=True).clamp_min(torch.finfo(means.dtype).tiny)
    return means * scale


class CountedConv2d(Gated):
    """A gated convolution that keeps a fixed number of channels, those with the largest learned saliencies.

    Args:
        conv: the convolution.
        channels: all there are to choose from.
        is_bypassed: true computes the dense convolution and decides nothing.

    Attributes:
        channels: as given.
        kept: scalar buffer: channels kept per choice.
        lassos: of each training pass since they were asked for: what the saliencies' lasso sums up, winners and losers
            alike, averaged over images.
    """

    kept: Tensor

    def __init__(self, conv: nn.Conv2d, channels: int, *, is_bypassed: bool) -> None:
        super().__init__(conv)
        self.channels = channels
        self.register_buffer("kept", torch.tensor(channels))
        self.is_bypassed = is_bypassed
        self.lassos: list[Tensor] = []

    def pay(self, lasso: Tensor) -> None:
        """Remember the lasso, a scalar, of a pass that trains."""
        if self.training and torch.is_grad_enabled():
            self.lassos.append(lasso)


class CountedGates(GatedMethod):
    """A method whose layers are all ``CountedConv2d``: counts are computed from the reduction, nothing is steered.

    Args:
        setting: reduction and seed.
        penalty: weight of the saliencies' lasso.
        ramp: fractions of the run. No channel is dropped before the first; then ever more, linearly, until the second.

    Raises:
        ValueError: if the setting asks for slices.
    """

    def __init__(self, setting: GateSetting, *, penalty: float, ramp: tuple[float, float]) -> None:
        require_no_slices(setting, type(self).__name__)
        super().__init__(setting)
        self._penalty = penalty
        self._ramp = ramp
        self._kept: Mapping[str, int] = {}

    @property
    def lowest_share(self) -> float:
        """That of one channel per choice."""
        return self.share(dict.fromkeys(self.channels, 1))

    @functools.cached_property
    def channels(self) -> Mapping[str, int]:
        """How many channels each layer has, in the order of the modules; once installed, that does not change."""
        return {path: layer.channels for path, layer in counted(self.branches.online).items()}

    def begin(self, wanted: float) -> None:
        """Settle how many channels each layer keeps at the end of the ramp."""
        self._kept = counts(self.channels, self.share, wanted)
        self._keep(1.0)

    def before_forward(self, step: int) -> None:
        """Drop as many channels as the ramp says."""
        if not self.setting.is_all_on:
            self._keep((step + 1) / self._total_steps)

    def _keep(self, progress: float) -> None:
        """Set the counts at a fraction of the run; each choice drops ``round(all to be dropped * ramp)``."""
        start, end = self._ramp
        ramp = min(1.0, max(0.0, (progress - start) / (end - start)))
        for encoder in (self.branches.online, self.branches.target):
            for path, layer in counted(encoder).items():
                layer.kept.fill_(layer.channels - round((layer.channels - self._kept[path]) * ramp))

    @abc.abstractmethod
    def share(self, kept: Mapping[str, int]) -> float:
        """Return the executed share of the gated MACs if the layers keep so many channels."""

    def knobs(self) -> dict[str, Knob]:
        """Return nothing: the shares are what they were computed to be."""
        return {}

    def set_aims(self, aims: Mapping[str, float]) -> None:
        """Do nothing."""

    def penalty(self) -> Tensor:
        """Return the weighted sum of the layers' lassos, each averaged over views."""
        if self.setting.is_all_on:
            return torch.zeros(())
        target, per_layer = counted(self.branches.target), []
        for path, layer in counted(self.branches.online).items():
            per_layer.append(torch.stack(layer.lassos + target[path].lassos).mean())
            layer.lassos, target[path].lassos = [], []
        return self._penalty * torch.stack(per_layer).sum()


def counted(encoder: nn.Module) -> dict[str, CountedConv2d]:
    """Return the layers of such a method by path, in the order of the modules."""
    return {path: layer for path, layer in gated(encoder).items() if isinstance(layer, CountedConv2d)}


def winners(saliency: Tensor, kept: Tensor) -> Tensor:
    """Return which entries of each row are among its ``kept`` largest: bool ``[N, C]``, exactly ``kept`` a row.

    Ties go to the lowest index. Comparing with the k-th value instead, as published code does, loses or wins all ties.

    Args:
        saliency: ``[N, C]``, finite.
        kept: scalar, whole, in [1, C]; a tensor, so that asking makes no device wait.
    """
    ranks = saliency.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return ranks < kept


def counts(channels: Mapping[str, int], share: Callable[[Mapping[str, int]], float], wanted: float) -> dict[str, int]:
    """Return how many channels each layer keeps so that ``share`` of these counts comes nearest to ``wanted``.

    All layers have one density d and keep ``ceil(d C)`` channels. Where layers gain a channel at the same d they
    gain it one after the other, in their order: the finest step is one channel of one layer. Source: ours; the papers
    fix d and take the cost that comes out.

    Args:
        channels: of each layer.
        share: executed share of the MACs; grows with every count.
        wanted: share to come near to.
    """
    kept = dict.fromkeys(channels, 1)
    best, distance = dict(kept), abs(share(kept) - wanted)
    gains = sorted(
        (have / count, place, path) for place, (path, count) in enumerate(channels.items()) for have in range(1, count)
    )
    for _, _, path in gains:
        kept[path] += 1
        away = abs(share(kept) - wanted)
        if away < distance:
            best, distance = dict(kept), away
    return best


__all__ = ["CountedConv2d", "CountedGates", "counted", "counts", "proportions", "winners"]
