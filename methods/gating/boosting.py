"""Feature boosting and suppression (FBS): amplify the output channels that promise most, skip the others."""

import copy
from collections import deque
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.branches import Branches
from methods.gating.convolution import block_convolutions
from methods.gating.layer import replace
from methods.gating.residual import feeders, take_normalisation
from methods.gating.setting import GateSetting
from methods.gating.winners import CountedConv2d, CountedGates, proportions, winners

PENALTY = 1e-8  # lambda of the lasso on saliencies
RAMP_START, RAMP_END = 1 / 4, 3 / 4  # of the run: no channel is skipped before, all that shall be after (ours)


class BoostedConv2d(CountedConv2d):
    """``saliency * normalised convolution`` in the channels whose saliency wins, 0 in the others.

    A channel of 0 stays 0 through the ReLU, so the convolution that reads it skips it as an input as well: it
    executes kept inputs x kept outputs.

    Args:
        conv: the convolution.
        normalisation: what stood behind it. Its scale is frozen, because the saliency plays its part.
        predictor: from the mean of each input channel to the saliency of each output channel.
        written: where the winners of a pass are left for the layer that reads this one's output alone.
        read: where those of the layer that feeds this one are found; ``None``: all inputs are there.
        is_bypassed: as in ``CountedConv2d``.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        normalisation: nn.Module,
        predictor: nn.Linear,
        *,
        written: deque[Tensor],
        read: deque[Tensor] | None,
        is_bypassed: bool,
    ) -> None:
        super().__init__(conv, conv.out_channels, is_bypassed=is_bypassed)
        self.normalisation = normalisation
        self.predictor = predictor
        self._written, self._read = written, read

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[N, out_channels, H', W']``, normalised."""
        full: Tensor = self.normalisation(self.conv(images))
        if self.is_bypassed:
            on = torch.ones(full.shape[:2], dtype=torch.bool, device=full.device)
            self.note(on, lambda: on.float().mean(1), overhead_macs=0)
            return full
        saliency = functional.relu(self.predictor(proportions(images.abs().mean((2, 3)))))
        on = winners(saliency.detach(), self.kept)
        self._written.append(on)
        overhead = images[0].numel() + images.shape[1] + self.conv.out_channels
        self.note(on, lambda: self._share(on), overhead_macs=overhead)
        self.pay(saliency.sum(1).mean())
        return full * (saliency * on)[:, :, None, None]

    def _share(self, on: Tensor) -> Tensor:
        """Return the executed share ``[N]``: kept outputs x kept inputs."""
        share = on.float().mean(1)
        return share if self._read is None else share * self._read[-1].float().mean(1)


class FeatureBoosting(CountedGates):
    """Every 3x3 block convolution keeps the same fraction of its output channels, chosen image by image.

    A tied pair shares the predictors; those of an EMA target follow the online ones. The lasso is taken per view. The
    fraction is computed from the reduction, exactly, so that nothing is left to steer. It is lowered by and by in a
    network that has been trained without skipping, as the authors do; how long each takes is ours.

    Source: Gao et al., ICLR 2019, section 3; public ports for He initialisation by fan-out and the unit scale of the
    normalisation (deviation 24).

    Args:
        setting: reduction and seed.

    Raises:
        ValueError: if the setting asks for slices.
    """

    def __init__(self, setting: GateSetting) -> None:
        super().__init__(setting, penalty=PENALTY, ramp=(RAMP_START, RAMP_END))

    def install(self, branches: Branches) -> None:
        """Gate every 3x3 block convolution of both encoders; the encoder is at its start, so scales are 1."""
        predictors = _predictors(branches.online, self.setting.seed)
        self._feeders = feeders(branches.online, predictors)
        self._install(branches.online, predictors)
        if not branches.tied:
            predictors = {path: copy.deepcopy(each).requires_grad_(False) for path, each in predictors.items()}
        self._install(branches.target, predictors)

    def share(self, kept: Mapping[str, int]) -> float:
        """Return the executed share of the gated MACs: kept inputs x kept outputs."""
        rates = {path: kept[path] / channels for path, channels in self.channels.items()}
        inputs = {path: rates[feeder] for path, feeder in self._feeders.items()}
        macs = self._budget.layers
        return sum(macs[path] * rate * inputs.get(path, 1.0) for path, rate in rates.items()) / self._budget.gated

    def _install(self, encoder: nn.Module, predictors: Mapping[str, nn.Linear]) -> None:
        is_all_on = self.setting.is_all_on
        written = {path: deque[Tensor](maxlen=1) for path in predictors}
        for path, predictor in predictors.items():
            conv = encoder.get_submodule(path)
            assert isinstance(conv, nn.Conv2d)
            read = written[self._feeders[path]] if path in self._feeders else None
            normalisation = take_normalisation(encoder, path)
            if is_all_on:
                predictor.requires_grad_(False)
            elif isinstance(normalisation, nn.BatchNorm2d):
                normalisation.weight.requires_grad_(False)
            layer = BoostedConv2d(
                conv, normalisation, predictor, written=written[path], read=read, is_bypassed=is_all_on
            )
            replace(encoder, path, layer)


def _predictors(encoder: nn.Module, seed: int) -> dict[str, nn.Linear]:
    """Draw a predictor per layer, leaving the global random state alone."""
    predictors = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for path in block_convolutions(encoder):
            conv = encoder.get_submodule(path)
            assert isinstance(conv, nn.Conv2d)
            predictor = nn.Linear(conv.in_channels, conv.out_channels)
            nn.init.kaiming_normal_(predictor.weight, mode="fan_out")
            nn.init.ones_(predictor.bias)
            predictors[path] = predictor.to(conv.weight.device)
    return predictors


__all__ = ["BoostedConv2d", "FeatureBoosting"]
