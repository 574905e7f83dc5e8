"""Dynamic group convolution (DGC): each group of output channels reads the input channels that it finds salient."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from methods.branches import Branches
from methods.gating.convolution import block_convolutions
from methods.gating.layer import replace
from methods.gating.setting import GateSetting
from methods.gating.winners import CountedConv2d, CountedGates, proportions, winners

HEADS = 4
PENALTY = 1e-5  # weight of the saliencies' lasso
SQUEEZE, SQUEEZE_NARROW, NARROW = 16, 8, 80  # predictors are C / 16 wide; C / 8 where C is below 80
RAMP_START, RAMP_END = 1 / 12, 3 / 4  # of the run: no channel is dropped before, all that shall be after


class HeadedConv2d(CountedConv2d):
    """A convolution whose output channels are split among heads, each with a choice of input channels of its own.

    The heads are one grouped convolution over copies of the input, one copy per head, each channel times its saliency
    or 0. The weights are those of the dense convolution; with more than one head it is not called densely again.

    Args:
        conv: its output channels divide among the heads.
        predictors: per head, from the mean of each input channel to its saliency.
        is_bypassed: as in ``CountedConv2d``.
    """

    def __init__(self, conv: nn.Conv2d, predictors: nn.ModuleList, *, is_bypassed: bool) -> None:
        super().__init__(conv, conv.in_channels, is_bypassed=is_bypassed)
        self.heads = len(predictors)
        self.predictors = predictors
        if not is_bypassed:
            conv.in_channels, conv.groups = self.heads * self.channels, self.heads

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[N, out_channels, H', W']``."""
        if self.is_bypassed:
            on = torch.ones((len(images), self.heads, self.channels), dtype=torch.bool, device=images.device)
            self.note(on, lambda: on.float().mean((1, 2)), overhead_macs=0)
            return self.conv(images)  # type: ignore[no-any-return]
        means = proportions(images.mean((2, 3)))  # never negative behind a ReLU
        saliency = torch.stack([predictor(means) for predictor in self.predictors], 1)
        on = winners(saliency.detach().flatten(0, 1), self.kept).view_as(saliency)
        self.note(on, lambda: on.float().mean((1, 2)), overhead_macs=self._overhead_macs(images))
        self.pay(saliency.mean((0, 2)).sum())
        copies = images.unsqueeze(1) * (saliency * on)[..., None, None]
        return self.conv(copies.flatten(1, 2))  # type: ignore[no-any-return]

    def _overhead_macs(self, images: Tensor) -> int:
        """Return means, proportions, a comparison per saliency, and the products with it, those that are 0 included."""
        elements = images[0].numel()
        return elements + self.channels + self.heads * self.channels + self.heads * elements


class GroupGate(CountedGates):
    """Every 3x3 block convolution has ``HEADS`` heads, which all drop the same fraction of their input channels.

    No channel is dropped in the first twelfth of the run; then ever more, linearly, until three quarters of it. A
    tied pair shares the predictors; those of an EMA target follow the online ones. The lasso is taken per view. The
    fraction is computed from the reduction, exactly, so that nothing is left to steer.

    Source: Su et al., ECCV 2020, and their code. Their heads read normalised features behind a ReLU, as ours do; the
    channel shuffle is left out, which renames channels alone (deviation 25).

    Args:
        setting: reduction and seed.

    Raises:
        ValueError: if the setting asks for slices.
    """

    def __init__(self, setting: GateSetting) -> None:
        super().__init__(setting, penalty=PENALTY, ramp=(RAMP_START, RAMP_END))

    def install(self, branches: Branches) -> None:
        """Give heads to every 3x3 block convolution of both encoders.

        Raises:
            ValueError: if output channels do not divide among the heads.
        """
        predictors = _predictors(branches.online, self.setting.seed)
        for path, each in predictors.items():
            for encoder, is_online in ((branches.online, True), (branches.target, False)):
                own = each if is_online or branches.tied else copy.deepcopy(each).requires_grad_(False)
                conv = encoder.get_submodule(path)
                assert isinstance(conv, nn.Conv2d)
                replace(encoder, path, HeadedConv2d(conv, own, is_bypassed=self.setting.is_all_on))
            each.requires_grad_(not self.setting.is_all_on)

    def share(self, kept: Mapping[str, int]) -> float:
        """Return the executed share of the gated MACs."""
        macs = self._budget.layers
        return sum(macs[path] * kept[path] / each for path, each in self.channels.items()) / self._budget.gated


def _predictors(encoder: nn.Module, seed: int) -> dict[str, nn.ModuleList]:
    """Draw predictors per layer and head, leaving the global random state alone."""
    predictors = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for path in block_convolutions(encoder):
            conv = encoder.get_submodule(path)
            assert isinstance(conv, nn.Conv2d)
            if conv.out_channels % HEADS or conv.groups != 1:
                raise ValueError(
                    f"{path}: {conv.out_channels} output channels in {conv.groups} groups do not divide among "
                    f"{HEADS} heads. Use a wider encoder without grouped convolutions."
                )
            heads = nn.ModuleList(_predictor(conv.in_channels) for _ in range(HEADS))
            predictors[path] = heads.to(conv.weight.device)
    return predictors


def _predictor(channels: int) -> nn.Sequential:
    hidden = max(1, channels // (SQUEEZE if channels >= NARROW else SQUEEZE_NARROW))
    squeeze, excite = nn.Linear(channels, hidden, bias=False), nn.Linear(hidden, channels)
    nn.init.kaiming_normal_(squeeze.weight)
    nn.init.kaiming_normal_(excite.weight)
    nn.init.ones_(excite.bias)
    return nn.Sequential(squeeze, nn.ReLU(), excite, nn.ReLU())


__all__ = ["GroupGate", "HeadedConv2d"]
