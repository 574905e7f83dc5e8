"""Which channels an encoder needs: those that vary, and that something reads.

A channel whose filter is zero is constant behind it, whatever the image: normalisation, ReLU and sums turn constants
into constants. A channel that no weight of a needed filter reads is not needed, whatever it is. Source: ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.compaction.border import BorderedConv2d
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


def of_ones(weight: Tensor) -> Tensor:
    """Return what a weight makes of maps of ones without a border, ``[outputs, inputs]``."""
    return weight.flatten(2).sum(2) if weight.ndim > 2 else weight


def pads_zeros(conv: nn.Conv2d) -> bool:
    """Return whether zeros lie under the kernel at the borders, where constants do not."""
    if conv.padding_mode != "zeros" or conv.padding == "valid":
        return False
    return max(conv.kernel_size) > 1 if conv.padding == "same" else any(conv.padding)


def affine(normalisation: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return what batch normalisation in evaluation mode multiplies with, and what it adds then, float64 ``[C]``."""
    assert normalisation.running_mean is not None
    assert normalisation.running_var is not None
    scale = normalisation.weight.detach().double() / (normalisation.running_var.double() + normalisation.eps).sqrt()
    return scale, normalisation.bias.detach().double() - normalisation.running_mean.double() * scale


def _behind(layer: nn.Conv2d | nn.Linear, inputs: Tensor) -> Tensor:
    """Return the constants behind a layer that reads these."""
    reads = is_read(layer)
    if isinstance(layer, nn.Conv2d) and (layer.groups > 1 or pads_zeros(layer)):
        # A constant that is not 0 is none behind a padded convolution: at the border, padding takes part of it away.
        varies = (reads & (inputs != 0)).any(1)
        if isinstance(layer, BorderedConv2d):
            varies |= layer.border.flatten(1).any(1)
        made = torch.zeros(len(varies), dtype=torch.float64)
    else:
        varies = (reads & inputs.isnan()).any(1)
        made = of_ones(layer.weight.detach().double()) @ inputs.nan_to_num(0.0)
    bias = made if layer.bias is None else made + layer.bias.detach().double()
    return bias.masked_fill(varies, torch.nan)


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
        return _behind(layer, inputs[0])
    if isinstance(layer, nn.BatchNorm2d):
        scale, shift = affine(layer)
        return torch.where(scale == 0, shift, inputs[0] * scale + shift)
    return inputs[0]


def _asked(encoder: nn.Module, wire: Wire, needed: Tensor, varies: Tensor) -> Tensor:
    """Return which channels of what it reads a map needs."""
    layer = encoder.get_submodule(wire.path) if wire.path else None
    if isinstance(layer, nn.Conv2d | nn.Linear):
        return is_read(layer)[needed].any(0) & varies
    return needed & varies
