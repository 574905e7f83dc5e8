"""Spatially dynamic convolution (DynConv): a residual block is computed at the pixels that its mask keeps."""

import copy
import math
from collections import deque
from collections.abc import Mapping, Sequence

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn import functional

from methods.branches import Branches
from methods.draws import StepNoise
from methods.gating.control import GatedMethod, Knob
from methods.gating.convolution import block_convolutions
from methods.gating.layer import gated, replace
from methods.gating.mask_unit import MaskUnit
from methods.gating.masked import MaskedConv2d
from methods.gating.residual import feeders, take_normalisation
from methods.gating.setting import GateSetting, require_no_slices

PENALTY = 10.0  # weight of the budget's loss
ANNEALED = 0.33  # of the run, over which the bounds of a block's share open
NOISE_END = 0.8  # of the run


class SpatialGate(GatedMethod):
    """One mask of pixels per residual block, learned against a budget; the shortcut is always computed.

    The budget's loss, taken per view, holds the network's executed share at the wanted one and each block's between
    bounds that open from that share alone to everything. As in the published code, its gradient comes from the mask
    itself, not from the widened one. A controller moves the logits' threshold, which is 0 for the authors, so
    that the share without noise is the wanted one too.

    A tied pair shares the mask units; those of an EMA target follow the online ones.

    Source: Verelst and Tuytelaars, CVPR 2020, sections 3.1 to 3.4, and their code (deviation 26).

    Args:
        setting: reduction and seed.

    Raises:
        ValueError: if the setting asks for slices.
    """

    def __init__(self, setting: GateSetting) -> None:
        require_no_slices(setting, "spatially dynamic convolution")
        super().__init__(setting)
        self._noise = StepNoise(setting.seed)
        self._progress = 0.0

    @property
    def lowest_share(self) -> float:
        """None: where no pixel is kept, nothing is computed."""
        return 0.0

    def install(self, branches: Branches) -> None:
        """Mask every residual block of both encoders that has a 3x3 convolution."""
        paths = block_convolutions(branches.online)
        fed_by = {
            path: feeder
            for path, feeder in feeders(branches.online, paths).items()
            if _conv(branches.online, path).stride == (1, 1)
        }
        units = _drawn(branches.online, [path for path in paths if path not in fed_by], self.setting.seed)
        self._blocks = [_chain(path, fed_by) for path in units]
        _install(branches.online, self._blocks, units)
        if not branches.tied:
            units = {path: copy.deepcopy(unit).requires_grad_(False) for path, unit in units.items()}
        _install(branches.target, self._blocks, units)
        for encoder in (branches.online, branches.target):
            for layer in _masked(encoder).values():
                layer.is_bypassed = self.setting.is_all_on
                if self.setting.is_all_on and layer.unit is not None:
                    layer.unit.requires_grad_(False)

    def begin(self, wanted: float) -> None:  # noqa: ARG002
        """Start with the authors' threshold."""
        for encoder in (self.branches.online, self.branches.target):
            _aim(encoder, 0.0)

    def knobs(self) -> dict[str, Knob]:
        """Return each branch's threshold of the logits.

        A tied pair has one threshold. The units of an EMA target lag behind, so that it needs one of its own.
        """
        knobs = {"aim": _knob(self.branches.online)}
        return knobs if self.branches.tied else knobs | {"aim_target": _knob(self.branches.target)}

    def set_aims(self, aims: Mapping[str, float]) -> None:
        """Move the thresholds."""
        _aim(self.branches.online, aims["aim"])
        if not self.branches.tied:
            _aim(self.branches.target, aims["aim_target"])

    def before_forward(self, step: int) -> None:
        """Say how far the run is, and seed the step's noise: a resumed run draws the same, each rank its own."""
        self._progress = step / self._total_steps
        device = next(self.branches.online.parameters()).device
        noise = self._noise.at(step, self._total_steps, device)
        for encoder in (self.branches.online, self.branches.target):
            for layer in _masked(encoder).values():
                layer.noise = noise if self._progress < NOISE_END else None

    def penalty(self) -> Tensor:
        """Return ``PENALTY`` times the budget's loss, averaged over views."""
        if self.setting.is_all_on:
            return torch.zeros(())
        per_view = [
            self._loss({path: layer.shares[view] for path, layer in layers.items()})
            for layers in (_masked(encoder) for encoder in (self.branches.online, self.branches.target))
            for view in range(len(next(iter(layers.values())).shares))
        ]
        for encoder in (self.branches.online, self.branches.target):
            for layer in _masked(encoder).values():
                layer.shares = []
        return PENALTY * torch.stack(per_view).mean()

    def bounds(self) -> tuple[float, float]:
        """Return the lowest and the highest share that a block may have now."""
        closed = math.cos(min(1.0, self._progress / ANNEALED) * math.pi / 2) ** 2
        return closed * self._wanted, 1 - closed * (1 - self._wanted)

    def _loss(self, shares: Mapping[str, Tensor]) -> Tensor:
        """Return the squared distance from the budget, plus the mean of the blocks' squared distances from bounds."""
        lowest, highest = self.bounds()
        network = self._executed(shares, list(shares))
        blocks = torch.stack([self._executed(shares, block) for block in self._blocks])
        outside = functional.relu(blocks - highest).square() + functional.relu(lowest - blocks).square()
        return (network - self._wanted).square() + outside.mean()

    def _executed(self, shares: Mapping[str, Tensor], paths: Sequence[str]) -> Tensor:
        macs = self._budget.layers
        total = sum(macs[path] for path in paths)
        return torch.stack([shares[path] * (macs[path] / total) for path in paths]).sum()


def _units(encoder: nn.Module) -> list[MaskUnit]:
    return [layer.unit for layer in _masked(encoder).values() if layer.unit is not None]


def _knob(encoder: nn.Module) -> Knob:
    """Return the threshold, and the spread of the logits: those of all blocks taken for one normal distribution."""
    units = _units(encoder)
    moments = torch.stack([unit.moments for unit in units]).mean(0)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(moments)  # ranks see other images, but must turn their knobs alike
        moments /= torch.distributed.get_world_size()
    mean, square = moments.tolist()
    return Knob(aim=units[0].aim.item(), spread=math.sqrt(max(0.0, square - mean**2)))


def _aim(encoder: nn.Module, aim: float) -> None:
    for unit in _units(encoder):
        unit.aim.fill_(aim)


def _drawn(encoder: nn.Module, paths: Sequence[str], seed: int) -> dict[str, MaskUnit]:
    """Draw a mask unit per block, leaving the global random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {path: MaskUnit(_conv(encoder, path)).to(_conv(encoder, path).weight.device) for path in paths}


def _chain(path: str, fed_by: Mapping[str, str]) -> tuple[str, ...]:
    """Return a block's gated convolutions, the first one first."""
    chain = [path]
    while following := [each for each, feeder in fed_by.items() if feeder == chain[-1]]:
        chain += following
    return tuple(chain)


def _install(encoder: nn.Module, blocks: Sequence[Sequence[str]], units: Mapping[str, MaskUnit]) -> None:
    for block in blocks:
        masks = [deque[Tensor](maxlen=1) for _ in block[1:]]
        for place, path in enumerate(block):
            layer = MaskedConv2d(
                _conv(encoder, path),
                None if place < len(masks) else take_normalisation(encoder, path),
                units.get(path),
                read=masks[place - 1] if place else None,
                written=masks[place] if place < len(masks) else None,
                wider=len(masks) - place,
            )
            replace(encoder, path, layer)


def _conv(encoder: nn.Module, path: str) -> nn.Conv2d:
    conv = encoder.get_submodule(path)
    assert isinstance(conv, nn.Conv2d)
    return conv


def _masked(encoder: nn.Module) -> dict[str, MaskedConv2d]:
    return {path: layer for path, layer in gated(encoder).items() if isinstance(layer, MaskedConv2d)}


__all__ = ["MaskUnit", "MaskedConv2d", "SpatialGate"]
