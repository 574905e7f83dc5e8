"""Really skipping: gated layers, for inference, that compute only what their gates let through.

The masked path of a gated layer computes everything and throws some of it away, as training must. Here outputs are
computed at open pixels alone: on a CPU with a C++ compiler by a compiled kernel (``OpenConv``), elsewhere in PyTorch
(``PixelConv``). Source: ours; the published code only masks.
"""

import copy
import warnings
from collections import deque
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.gating import compiled
from methods.gating.convolution import GatedConv2d, by_its_gate
from methods.gating.gate import Gate
from methods.gating.layer import gated, replace
from methods.gating.mask_unit import MaskUnit
from methods.gating.masked import MaskedConv2d
from methods.gating.open_conv import OpenConv, why_not_compiled
from methods.gating.partition import base_and_rest
from methods.gating.pixels import PixelConv
from methods.gating.quick_mask import QuickMask
from methods.gating.windows import are_mostly


def skipping(encoder: nn.Module) -> nn.Module:
    """Return a copy of a gated encoder that computes the same, up to rounding, and skips what its gates close.

    Gates per pixel and slice (``GatedConv2d``) and spatial gates (``MaskedConv2d``) skip; layers whose gates are
    bypassed stay as they are, dense. A gate whose value lies within rounding of its threshold may turn out otherwise.
    Weights are packed here, once. Without a compiler, or off the CPU, PyTorch does the work, slower, and a warning says
    so.

    Args:
        encoder: as it was exported or loaded, on the device that it shall stay on. The copy is in evaluation mode and
            for inference alone.

    Raises:
        ValueError: it has no gates, or gates of a kind that decides per image, for which there is no faster path.
    """
    made = copy.deepcopy(encoder).eval()
    layers = gated(made)
    if not layers:
        raise ValueError("the encoder has no gates: there is nothing to skip. Use it as it is.")
    masked = {path: layer for path, layer in layers.items() if isinstance(layer, MaskedConv2d)}
    for path, layer in layers.items():
        if isinstance(layer, GatedConv2d):
            if not layer.is_bypassed:
                replace(made, path, Skipping(layer))
        elif path not in masked:
            raise ValueError(
                f"{path}: {type(layer).__name__} chooses channels image by image, and no kernel here is faster for "
                "that than the dense one. Use the encoder as it is."
            )
    for block in _blocks(masked):
        marks = [deque[Tensor](maxlen=1) for _ in block[1:]]
        for place, (path, masked_layer) in enumerate(block):
            skips = SkippingMasked(
                masked_layer,
                read=marks[place - 1] if place else None,
                written=marks[place] if place < len(marks) else None,
                wider=len(marks) - place,
            )
            replace(made, path, skips)
    if why := next((found for layer in layers.values() if (found := why_not_compiled(layer.conv))), ""):
        warnings.warn(f"gates are skipped in plain PyTorch, which is slower: {why}.", stacklevel=2)
    return made


class Skipping(nn.Module):
    """A layer with gates per pixel and slice of output channels: the base path everywhere, the rest where it is open.

    The compiled kernel adds the rest; PyTorch computes the whole layer anew where it is open, a kernel row at a time.

    Args:
        layer: in evaluation mode; slices of one channel are allowed, but open ones share pixels with their neighbours,
            or gather a window per channel and pixel. It must not change afterwards.

    Raises:
        ValueError: the layer is in training mode, where gates depend on the batch.
    """

    levels: Tensor

    def __init__(self, layer: GatedConv2d) -> None:
        super().__init__()
        _require_evaluation(layer)
        self.layer = layer
        self.whole = PixelConv(layer.conv) if why_not_compiled(layer.conv) else None
        if self.whole is None:
            base, rest = base_and_rest(layer, at_least=int(compiled.library().lanes()))
            self.base, self.rest = OpenConv(layer.conv, base), OpenConv(layer.conv, rest, adds=True)
            self.register_buffer("levels", _levels(layer.gate), persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return what the layer returns in evaluation mode, up to rounding, ``[N, out_channels, H', W']``.

        Args:
            images: ``[N, in_channels, H, W]``.
        """
        if self.whole is not None:
            return self._gathered(self.whole, images)
        layer, output = self.layer, self.base.output(images)
        if layer.decide is by_its_gate:
            return self.base.write_gated(output, images, self.rest, self.levels)
        self.base.write(output, images)
        return self.rest.write(output, images, layer.decide(layer.gate, output) > 0)

    def _gathered(self, whole: PixelConv, images: Tensor) -> Tensor:
        layer, size = self.layer, self.layer.gate.slice_channels
        base = layer.base(images)
        on = layer.decide(layer.gate, base) > 0
        output, padded = base.permute(0, 2, 3, 1).contiguous(), whole.windows.padded(images)
        rows = output.flatten(0, 2)
        for index in range(layer.gate.slices):
            first = index * size
            whole.write(rows[:, first : first + size], padded, on[:, index], first)
        return output.permute(0, 3, 1, 2)


class SkippingMasked(nn.Module):
    """A convolution of a block with spatial gates, at the pixels that its block keeps or, before the last, reads.

    Elsewhere it returns 0, which is the output of the block's last convolution there; what earlier ones give there
    reaches no kept pixel. Where most pixels are open, the dense convolution takes less time: closed ones are set to 0.

    Args:
        layer: in evaluation mode, not bypassed; its normalisation is folded into the weights. It must not change.
        read: where the block's mask is found; ``None`` for the first.
        written: where it is left for the next; ``None`` for the last.
        wider: how many gated convolutions follow in the block.

    Raises:
        ValueError: the layer is in training mode, where masks are noisy.
    """

    def __init__(
        self, layer: MaskedConv2d, *, read: deque[Tensor] | None, written: deque[Tensor] | None, wider: int
    ) -> None:
        super().__init__()
        _require_evaluation(layer)
        scale, shift = _affine(layer.normalisation)
        is_compiled = not why_not_compiled(layer.conv)
        self.whole: OpenConv | PixelConv = (
            OpenConv(layer.conv, scale=scale, shift=shift) if is_compiled else PixelConv(layer.conv, scale, shift)
        )
        self.dense = _folded(layer.conv, scale, shift)
        self.unit: MaskUnit | QuickMask | None = layer.unit
        if is_compiled and layer.unit is not None:
            self.unit = QuickMask(layer.unit)
        self._read, self._written, self._wider = read, written, wider

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return ``[N, out_channels, H', W']``, 0 where nothing was computed.

        Args:
            images: ``[N, in_channels, H, W]``.
        """
        mask = self._mask(images)
        if self._written is not None:
            self._written.append(mask)
        for _ in range(self._wider):
            mask = functional.max_pool2d(mask, 3, stride=1, padding=1)
        is_open = mask > 0
        if are_mostly(is_open):
            made: Tensor = self.dense(images)
            return made.mul_(mask)
        if isinstance(self.whole, OpenConv):
            return self.whole.write(self.whole.output(images, fill=0.0), images, is_open)
        output = images.new_zeros(len(images), *self.whole.windows.size(images), len(self.whole.bias))
        self.whole.write(output.flatten(0, 2), self.whole.windows.padded(images), is_open[:, 0])
        return output.permute(0, 3, 1, 2)

    def _mask(self, images: Tensor) -> Tensor:
        if self._read is not None:
            return self._read.popleft()
        assert self.unit is not None
        mask: Tensor = self.unit(images, None)
        return mask


def _blocks(layers: Mapping[str, MaskedConv2d]) -> Iterator[list[tuple[str, MaskedConv2d]]]:
    """Give the convolutions of each block: the first one has the mask unit. Bypassed ones are left out."""
    block: list[tuple[str, MaskedConv2d]] = []
    for path, layer in layers.items():
        if layer.is_bypassed:
            continue
        if layer.unit is not None and block:
            yield block
            block = []
        block.append((path, layer))
    if block:
        yield block


@torch.no_grad()
def _levels(gate: Gate) -> Tensor:
    """Return what the sum of a slice's base path has to exceed, ``[slices]``."""
    mean, variance = gate.normalisation.running_mean, gate.normalisation.running_var
    assert mean is not None
    assert variance is not None
    deviation = (variance + gate.normalisation.eps).sqrt()
    return gate.slice_channels * (mean + deviation * (gate.aim + gate.deviation))


def _affine(normalisation: nn.Module | None) -> tuple[Tensor | None, Tensor | None]:
    """Return what a batch normalisation multiplies with and adds, per channel; nothing for what is none."""
    if not isinstance(normalisation, nn.BatchNorm2d):
        return None, None
    mean, variance = normalisation.running_mean, normalisation.running_var
    assert mean is not None
    assert variance is not None
    scale = (variance + normalisation.eps).rsqrt() * normalisation.weight.detach()
    return scale, normalisation.bias.detach() - mean * scale


@torch.no_grad()
def _folded(conv: nn.Conv2d, scale: Tensor | None, shift: Tensor | None) -> nn.Conv2d:
    """Return a copy of a convolution whose outputs are scaled and shifted."""
    made = copy.deepcopy(conv).requires_grad_(False)
    if scale is not None and shift is not None:
        bias = shift if conv.bias is None else conv.bias * scale + shift
        made.weight.mul_(scale[:, None, None, None])
        made.bias = nn.Parameter(bias, requires_grad=False)
    return made


def _require_evaluation(layer: nn.Module) -> None:
    if layer.training:
        raise ValueError("skipping is for inference: call `.eval()` first.")


__all__ = ["Skipping", "SkippingMasked", "skipping"]
