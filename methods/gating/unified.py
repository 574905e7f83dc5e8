"""Unification: one encoder learns as a gated and as a dense network at once, each beside the other's view."""

import math
from collections import deque
from collections.abc import Mapping

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn import functional

from methods.branches import Branches
from methods.draws import StepNoise
from methods.gating.channel_unit import ChannelUnit
from methods.gating.control import GatedMethod, Knob
from methods.gating.convolution import block_convolutions
from methods.gating.layer import Gated, gated, replace
from methods.gating.residual import feeders, take_normalisation
from methods.gating.setting import GateSetting, require_no_slices
from methods.normalisation import own_scale

BUDGET_PENALTY, BOUNDS_PENALTY = 5.0, 1.0  # lambda and gamma of the authors' scripts
OPENING = 10.0  # bounds open by exp(-OPENING * progress): the script's exp(-0.02 epoch) over its 500 epochs


class InnerConv2d(Gated):
    """The first or the last convolution of a residual block; between the two only the kept channels are computed.

    The first normalises, rectifies and masks its output; its share of MACs is that of the kept outputs. The last reads
    them; its share is that of the kept inputs.

    Args:
        conv: of a block.
        normalisation: what stood behind the first; ``None`` for the last.
        unit: decides, in the first; ``None`` for the last, and in the dense branch.
        channels: the mask, left by the first for the last.

    Attributes:
        is_bypassed: true computes the dense convolution and decides nothing.
        noise: of the training passes; ``None``: off.
        shares: the batch's executed share, of each training pass since they were asked for.
    """

    def __init__(
        self, conv: nn.Conv2d, normalisation: nn.Module | None, unit: ChannelUnit | None, channels: deque[Tensor]
    ) -> None:
        super().__init__(conv)
        self.normalisation = normalisation
        self.unit = unit
        self.is_bypassed = False
        self.noise: torch.Generator | None = None
        self.shares: list[Tensor] = []
        self._channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[N, out_channels, H', W']``; of the first convolution normalised, rectified and masked."""
        full: Tensor = self.conv(images)
        if self.normalisation is not None:
            # Masked behind the ReLU: in front of it, a channel that is off would tell its gate nothing.
            full = functional.relu(self.normalisation(full))
        if self.is_bypassed:
            channels = self.conv.in_channels if self.normalisation is None else self.conv.out_channels
            on = torch.ones((len(full), channels), dtype=full.dtype, device=full.device)
            self.note(on, lambda: on.mean(1), overhead_macs=0)
            return full
        mask, overhead = self._mask(images)
        self.note(mask, lambda: mask.detach().mean(1), overhead_macs=overhead)
        if self.training and torch.is_grad_enabled():
            self.shares.append(mask.mean())
        return full if self.normalisation is None else full * mask[:, :, None, None]

    def _mask(self, images: Tensor) -> tuple[Tensor, int]:
        """Return the block's mask ``[N, C]``, and the operations to find it."""
        if self.unit is None:
            return self._channels.popleft(), 0
        mask = self.unit(images, self.noise)
        self._channels.append(mask)
        return mask, self.unit.overhead_macs(images, mask)


class UnifiedGate(GatedMethod):
    """View 0 goes through the gated network, view 1 through the dense one; convolutions are shared, and both learn.

    In every residual block a unit chooses the channels between the two convolutions, image by image. A loss holds the
    network's MACs at the budget, and each block's share of channels between bounds that open from the square root of
    the budget. Each branch has the batch normalisation inside the blocks to itself. A controller moves the logits'
    threshold, which is 0 for the authors, so that the reduction is the one asked for. Both networks are scored.

    Source: Krishna et al., BMVC 2023, and their code, KrishnaTarun/Unification at 1c562eb:
    ``solo/methods/ResCg/resnet_gating.py:98`` (block), ``:479`` to ``:521`` (losses), ``solo/methods/vicreg_gating.py``
    (student and teacher), ``bash_files/pretrain/cifar10/vicreg_gating.sh`` (constants); deviation 40.

    Args:
        setting: reduction and seed.

    Raises:
        ValueError: if the setting asks for slices.
    """

    def __init__(self, setting: GateSetting) -> None:
        require_no_slices(setting, "unification")
        super().__init__(setting)
        self._noise = StepNoise(setting.seed)
        self._progress = 0.0

    @property
    def splits_branches(self) -> bool:
        """True unless nothing is to be skipped: one branch is gated, the other is not."""
        return not self.setting.is_all_on

    @property
    def lowest_share(self) -> float:
        """None: where no channel is kept, nothing is computed."""
        return 0.0

    @property
    def predicts_for_target(self) -> bool:
        """False: the target is the dense network."""
        return False

    def install(self, branches: Branches) -> None:
        """Gate every block with two convolutions in the online encoder; the target keeps the same layers, all on.

        Raises:
            ValueError: the target is an average: it would not learn beside the gated network.
        """
        if not branches.tied:
            raise ValueError(
                "unification: the dense network has to learn, and no gradient reaches this framework's target: use a "
                "framework whose branches share their weights, such as simclr, barlow_twins or vicreg."
            )
        fed_by = feeders(branches.online, block_convolutions(branches.online))
        blocks = {path.rpartition(".")[0] for path in fed_by}
        for path, module in branches.target.named_modules():
            if (
                self.splits_branches and path.rpartition(".")[0] in blocks
            ):  # not in the shortcut, which lies deeper, nor behind the stem
                own_scale(module)
        for encoder in (branches.online, branches.target):
            _install(encoder, fed_by, self.setting.seed if encoder is branches.online else None)
        for encoder in (branches.online, branches.target):
            for layer in _inner(encoder).values():
                layer.is_bypassed = self.setting.is_all_on or encoder is branches.target
                if self.setting.is_all_on and layer.unit is not None:
                    layer.unit.requires_grad_(False)

    def begin(self, wanted: float) -> None:  # noqa: ARG002 (the same for any share)
        """Start with the authors' threshold."""
        self.set_aims({"aim": 0.0})

    def knobs(self) -> dict[str, Knob]:
        """Return the threshold, and the spread of the logits: those of all blocks taken for one normal distribution."""
        units = self._units()
        moments = torch.stack([unit.moments for unit in units]).mean(0)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(moments)  # ranks see other images, but must turn their knobs alike
            moments /= torch.distributed.get_world_size()
        mean, square = moments.tolist()
        return {"aim": Knob(aim=units[0].aim.item(), spread=math.sqrt(max(0.0, square - mean**2)))}

    def set_aims(self, aims: Mapping[str, float]) -> None:
        """Move the threshold."""
        for unit in self._units():
            unit.aim.fill_(aims["aim"])

    def before_forward(self, step: int) -> None:
        """Say how far the run is, and seed the step's noise: a resumed run draws the same, each rank its own."""
        self._progress = step / self._total_steps
        device = next(self.branches.online.parameters()).device
        noise = self._noise.at(step, self._total_steps, device)
        for layer in _inner(self.branches.online).values():
            layer.noise = noise

    def penalty(self) -> Tensor:
        """Return the losses of budget and bounds of the gated view, weighted as the authors do."""
        if self.setting.is_all_on:
            return torch.zeros(())
        shares, blocks = dict[str, Tensor](), list[Tensor]()
        for path, layer in _inner(self.branches.online).items():
            shares[path] = torch.stack(layer.shares).mean()
            layer.shares = []
            if layer.unit is not None:
                blocks.append(shares[path])
        budget = self._budget
        executed = torch.stack([share * budget.layers[path] for path, share in shares.items()]).sum() / budget.gated
        # Over the MACs of the whole encoder, as the authors' density is.
        beyond = (executed - self._wanted) * budget.gated / budget.dense
        lowest, highest = self.bounds()
        kept = torch.stack(blocks)
        outside = functional.relu(lowest - kept).square().mean() + functional.relu(kept - highest).square().mean()
        return BUDGET_PENALTY * beyond.square() + BOUNDS_PENALTY * outside

    def bounds(self) -> tuple[float, float]:
        """Return the lowest and the highest share of a block's channels that cost nothing now."""
        closed, middle = math.exp(-OPENING * self._progress), math.sqrt(1 / self.setting.reduction)
        return closed * middle, 1 - closed * (1 - middle)

    def _units(self) -> list[ChannelUnit]:
        return [layer.unit for layer in _inner(self.branches.online).values() if layer.unit is not None]


def _install(encoder: nn.Module, fed_by: Mapping[str, str], seed: int | None) -> None:
    """Put layers into an encoder; with units, drawn apart from the global random state, where a seed is given."""
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        for last, first in fed_by.items():
            convs = [encoder.get_submodule(path) for path in (first, last)]
            channels = deque[Tensor](maxlen=1)
            for conv, path in zip(convs, (first, last), strict=True):
                assert isinstance(conv, nn.Conv2d)
                is_first = path == first
                unit = ChannelUnit(conv.in_channels, conv.out_channels) if is_first and seed is not None else None
                unit = unit.to(conv.weight.device) if unit is not None else None
                norm = take_normalisation(encoder, path) if is_first else None
                replace(encoder, path, InnerConv2d(conv, norm, unit, channels))


def _inner(encoder: nn.Module) -> dict[str, InnerConv2d]:
    return {path: layer for path, layer in gated(encoder).items() if isinstance(layer, InnerConv2d)}


__all__ = ["InnerConv2d", "UnifiedGate"]
