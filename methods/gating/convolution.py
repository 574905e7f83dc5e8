"""The gated convolution: a base path for every pixel, the rest of the layer where its gate is on.

Source: Hua et al. 2019 (Channel Gating Neural Networks) and the authors' ``CGConv2d``; slices of output channels
after Meng's structured channel gating (``Conv2d_CG``). Contrastive Dual Gating (Meng et al. 2022) builds on both.
"""

from collections.abc import Callable, Collection
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods import masking
from methods.gating.gate import ALL_ON, SLOPE, Gate
from methods.gating.layer import Gated, replace

Partition = Literal["blocks", "first"]
Decide = Callable[[Gate, Tensor], Tensor]
"""From a layer's gate and its base path to the gates of this pass, ``[N, slices, H, W]``."""


def by_its_gate(gate: Gate, base: Tensor) -> Tensor:
    """Decide as the layer's own gate does."""
    gates: Tensor = gate(base)
    return gates


class GatedConv2d(Gated):
    """``base + gate * rest``, where base and rest are the two parts of one convolution's weights.

    Computed as ``where(gate, full, base)``, so that with all gates on the output is the dense one bit for bit.

    Args:
        conv: square groups of one, zero padding; it keeps its parameter, masks and name ``conv``.
        gate: may be another layer's, whose thresholds and statistics are then shared.
        groups: the base path has one in ``groups`` of the weights.
        partition: ``blocks``: input group i feeds output group i (block-diagonal; the authors of dual gating);
            ``first``: the first input channels feed all outputs (CGNet).

    Attributes:
        is_bypassed: true computes the dense convolution and decides nothing.
        decide: who decides; the layer's own gate, unless somebody else is put here.

    Raises:
        ValueError: if the convolution is grouped, or its channels do not divide.
    """

    def __init__(self, conv: nn.Conv2d, gate: Gate, *, groups: int, partition: Partition = "blocks") -> None:
        super().__init__(conv)
        check(conv, groups=groups, slice_channels=gate.slice_channels, partition=partition)
        self.gate = gate
        self.groups = groups
        self.partition = partition
        self.is_bypassed = False
        self.decide: Decide = by_its_gate

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[N, out_channels, H', W']``."""
        full: Tensor = self.conv(images)
        if self.is_bypassed:
            on = full.new_ones(()).expand(len(full), self.gate.slices, *full.shape[2:])
            self.note(on, lambda: on[:, 0, 0, 0], overhead_macs=0)
            return full
        base = self.base(images)
        gates = self.decide(self.gate, base)
        self.note(gates, lambda: self.share(gates), overhead_macs=self.gate.overhead_macs(base))
        mixed: Tensor = _Mix.apply(full, base, gates)
        return mixed

    def share(self, gates: Tensor) -> Tensor:
        """Return the executed share ``[N]``: ``1/G + (1 - 1/G) * rate``."""
        return 1 / self.groups + (1 - 1 / self.groups) * gates.detach().mean(dim=(1, 2, 3))

    def base(self, images: Tensor) -> Tensor:
        """Return the base path, always executed."""
        conv, weight = self.conv, self.conv.weight
        if self.partition == "first":
            channels = conv.in_channels // self.groups
            images, weight, groups = images[:, :channels], weight[:, :channels], 1
        else:
            blocks = weight.unflatten(0, (self.groups, -1)).unflatten(2, (self.groups, -1))
            weight, groups = blocks.diagonal(dim1=0, dim2=2).movedim(-1, 0).flatten(0, 1), self.groups
        return functional.conv2d(images, weight, conv.bias, conv.stride, conv.padding, conv.dilation, groups)

    def base_mask(self) -> Tensor:
        """Return which weights the base path has, 0. or 1., in the weight's shape."""
        conv = self.conv
        mask = torch.zeros_like(conv.weight, requires_grad=False)
        rows, columns = conv.out_channels // self.groups, conv.in_channels // self.groups
        if self.partition == "first":
            mask[:, :columns] = 1.0
        else:
            for group in range(self.groups):
                mask[group * rows : (group + 1) * rows, group * columns : (group + 1) * columns] = 1.0
        return mask


def block_convolutions(encoder: nn.Module) -> tuple[str, ...]:
    """Return the paths of the 3x3 convolutions behind the stem: what is gated (shortcuts are 1x1 and stay dense)."""
    layers = {path: encoder.get_submodule(path) for path in masking.prunable(encoder)}
    return tuple(path for path, conv in layers.items() if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3))


def install(
    encoder: nn.Module,
    *,
    groups: int,
    slice_channels: int = 1,
    partition: Partition = "blocks",
    layers: Collection[str] | None = None,
) -> None:
    """Gate the convolutions at these paths (default: ``block_convolutions``), in place, each with a gate of its own.

    Raises:
        ValueError: if there are none, or as ``GatedConv2d``, with the path.
    """
    layers = block_convolutions(encoder) if layers is None else layers
    if not layers:
        raise ValueError("the encoder has no 3x3 convolution behind its stem: there is nothing to gate.")
    for path in layers:
        conv = encoder.get_submodule(path)
        assert isinstance(conv, nn.Conv2d)
        try:
            check(conv, groups=groups, slice_channels=slice_channels, partition=partition)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        gate = Gate(conv.out_channels, slice_channels).to(conv.weight.device)
        replace(encoder, path, GatedConv2d(conv, gate, groups=groups, partition=partition))


def check(conv: nn.Conv2d, *, groups: int, slice_channels: int, partition: Partition) -> None:
    """Refuse a convolution that cannot be split so.

    Raises:
        ValueError: with the rule and the way out.
    """
    if conv.groups != 1 or conv.padding_mode != "zeros":
        raise ValueError("only convolutions with one group and zero padding can be gated.")
    outputs = conv.out_channels // groups if partition == "blocks" else conv.out_channels
    if conv.in_channels % groups or (partition == "blocks" and conv.out_channels % groups):
        raise ValueError(
            f"{conv.in_channels} -> {conv.out_channels} channels do not split into {groups} groups. "
            "Use fewer groups or a wider encoder."
        )
    if outputs % slice_channels:
        raise ValueError(
            f"slices of {slice_channels} channels do not fit {conv.out_channels} output channels in "
            f"{groups if partition == 'blocks' else 1} groups. Use thinner slices or a wider encoder."
        )


class _Mix(torch.autograd.Function):
    """``where(gate, full, base)``; backwards as ``base + gate * (full - base)``."""

    @staticmethod
    def forward(ctx: Any, full: Tensor, base: Tensor, gates: Tensor) -> Tensor:
        # In the memory format of the layer's output: it decides how later sums are rounded.
        wide = torch.empty_like(full, dtype=torch.bool)
        wide.unflatten(1, (gates.shape[1], -1)).copy_((gates > 0).unsqueeze(2))
        ctx.save_for_backward(full, base, wide)
        ctx.slices = gates.shape[1]
        return torch.where(wide, full, base)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        full, base, wide = ctx.saved_tensors
        to_gates = (full - base).mul_(gradient).unflatten(1, (ctx.slices, -1)).sum(2)
        return torch.where(wide, gradient, 0.0), torch.where(wide, 0.0, gradient), to_gates


__all__ = [
    "ALL_ON",
    "SLOPE",
    "Decide",
    "Gate",
    "GatedConv2d",
    "Partition",
    "block_convolutions",
    "by_its_gate",
    "check",
    "install",
]
