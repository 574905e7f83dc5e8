"""Which channels an encoder needs: those that vary, and that something reads.

A channel whose filter is zero is constant behind it, whatever the image: normalisation, ReLU and sums turn constants
into constants. A channel that no weight of a needed filter reads is not needed, whatever it is. Source: ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.compaction.wires import Kind, Wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """What is known about the channels of a map.

    Attributes:
        constant: float64 ``[C]``: the value of a channel that is the same at every pixel of every image; else nan.
        is_needed: bool ``[C]``: whether it varies and decides anything.
    """

    constant: Tensor
    is_needed: Tensor


@torch.no_grad()
def channels(encoder: nn.Module, wires: Sequence[Wire]) -> list[Channels]:
    """Return what is known about each map of an encoder in evaluation mode."""
    constants: list[Tensor] = []
    for wire in wires:
        constants.append(_constant(encoder, wire, [constants[read] for read in wire.reads], wires))
    varies = [each.isnan() for each in constants]
    needed = [torch.zeros_like(each) for each in varies]
    needed[-1] = varies[-1].clone()
    for place in reversed(range(len(wires))):
        needed[place] &= varies[place]
        for read in wires[place].reads:
            needed[read] |= _asked(encoder, wires[place], needed[place], varies[read])
    return [Channels(constant=constant, is_needed=each) for constant, each in zip(constants, needed, strict=True)]


def is_read(conv: nn.Conv2d | nn.Linear) -> Tensor:
    """Return which weights are not zero, by output and input channel; all, where there are groups."""
    if isinstance(conv, nn.Conv2d) and conv.groups > 1:
        return torch.ones(conv.out_channels, conv.in_channels, dtype=torch.bool)
    return (conv.weight.detach() != 0).flatten(2).any(2) if conv.weight.ndim > 2 else conv.weight.detach() != 0


def _constant(encoder: nn.Module, wire: Wire, inputs: Sequence[Tensor], wires: Sequence[Wire]) -> Tensor:
    layer = encoder.get_submodule(wire.path) if wire.path else None
    if wire.kind is Kind.IMAGE:
        first = next(each.path for each in wires if each.kind is Kind.CONVOLUTION)
        conv = encoder.get_submodule(first)
        assert isinstance(conv, nn.Conv2d)
        return torch.full((conv.in_channels,), torch.nan, dtype=torch.float64)
    if wire.kind is Kind.SUM:
        return inputs[0] + inputs[1]
    if wire.kind is Kind.RELU:
        return inputs[0].clamp(min=0)
    if isinstance(layer, nn.Conv2d | nn.Linear):
        # A constant that is not 0 is none behind a convolution: at the border, padding takes part of it away.
        varies = (is_read(layer) & (inputs[0] != 0)).any(1)
        bias = torch.zeros(len(varies)) if layer.bias is None else layer.bias.detach()
        return bias.double().masked_fill(varies, torch.nan)
    if isinstance(layer, nn.BatchNorm2d):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        scale = layer.weight.detach().double() / (layer.running_var.double() + layer.eps).sqrt()
        shift = layer.bias.detach().double()
        made = (inputs[0] - layer.running_mean.double()) * scale + shift
        return torch.where(scale == 0, shift, made)
    return inputs[0]


def _asked(encoder: nn.Module, wire: Wire, needed: Tensor, varies: Tensor) -> Tensor:
    """Return which channels of what it reads a map needs."""
    layer = encoder.get_submodule(wire.path) if wire.path else None
    if isinstance(layer, nn.Conv2d | nn.Linear):
        return is_read(layer)[needed].any(0) & varies
    return needed & varies
