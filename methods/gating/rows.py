"""A convolution and its gradients at open pixels, in PyTorch: fallback of the compiled kernels, and their oracle."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from methods.gating.pixels import CHUNK
from methods.gating.tables import Part
from methods.gating.windows import Windows, places


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """Of a convolution that was computed where it is open.

    Attributes:
        images: ``[N, in_channels, H, W]``.
        weight: ``[out_channels, in_channels, height, width]``.
    """

    images: Tensor
    weight: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Parts of a convolution that are added to what the stages before gave.

    Attributes:
        parts: what of the convolution it is.
        is_gated: whether it is computed where gates are open; else everywhere.
    """

    parts: Sequence[Part]
    is_gated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Outputs of one slice that read the same inputs at the same pixels.

    Attributes:
        outputs: channels.
        inputs: channels.
        pixels: which ones, counted over all maps of the output, int64 ``[P]``.
        rows: where they lie in the output, int64 ``[P]``.
    """

    outputs: range
    inputs: range
    pixels: Tensor
    rows: Tensor


@final
class Rows:
    """Gathers the rows of pixels that lie under open ones, per position of the kernel, and multiplies them.

    Closed outputs are 0, and what would be their gradient has no share in any other: nothing is approximated.

    Args:
        conv: whose geometry it has, with one group and zero padding given in pixels; weights are given later.
        stages: what is computed.
        is_compact: whether outputs are rows of open pixels alone, in their order; then there is one gated stage, of
            one slice.
    """

    def __init__(self, conv: nn.Conv2d, stages: Sequence[Stage], *, is_compact: bool) -> None:
        self._windows, self._outputs = Windows.of(conv), conv.out_channels
        self._stages, self._is_compact = stages, is_compact

    def forward(self, images: Tensor, weight: Tensor, is_open: Tensor) -> Tensor:
        """Return the outputs, without bias, 0 where nothing is open.

        Args:
            images: ``[N, in_channels, H, W]``.
            weight: ``[out_channels, in_channels, height, width]``.
            is_open: bool ``[N, slices, H', W']``.

        Returns:
            ``[N, out_channels, H', W']`` in channels-last memory; if compact, ``[open pixels, out_channels]``.
        """
        size, padded = self._windows.size(images), self._windows.padded(images)
        pixels = int(is_open.count_nonzero()) if self._is_compact else is_open[:, 0].numel()
        output, flat = images.new_zeros(pixels, len(weight)), padded.flatten(0, 2)
        for group in self._groups(is_open):
            outputs, inputs = _columns(group.outputs), _columns(group.inputs)
            for chunk, rows in zip(group.pixels.split(CHUNK), group.rows.split(CHUNK), strict=True):
                corner, made = self._windows.corners(chunk, size, padded), output[rows, outputs]
                for position in self._windows.positions():
                    gathered = flat.index_select(0, corner + self._windows.away(position, padded))
                    made.addmm_(gathered[:, inputs], weight[outputs, inputs, *position].t())
                output[rows, outputs] = made
        return output if self._is_compact else output.unflatten(0, (len(images), *size)).permute(0, 3, 1, 2)

    def backward(self, images: Tensor, weight: Tensor, is_open: Tensor, errors: Tensor) -> Gradients:
        """Return the gradients, from those of the outputs; arguments as of ``forward``."""
        size, padded = self._windows.size(images), self._windows.padded(images)
        flat, to_weight = padded.flatten(0, 2), torch.zeros_like(weight)
        to_flat = torch.zeros_like(flat)
        errors = errors if self._is_compact else errors.permute(0, 2, 3, 1).flatten(0, 2)
        for group in self._groups(is_open):
            outputs, inputs = _columns(group.outputs), _columns(group.inputs)
            for chunk, rows in zip(group.pixels.split(CHUNK), group.rows.split(CHUNK), strict=True):
                corner, error = self._windows.corners(chunk, size, padded), errors[rows, outputs]
                for position in self._windows.positions():
                    under = corner + self._windows.away(position, padded)
                    to_weight[outputs, inputs, *position] += error.t() @ flat.index_select(0, under)[:, inputs]
                    to_flat[:, inputs].index_add_(0, under, error @ weight[outputs, inputs, *position])
        return Gradients(images=self._windows.inside(to_flat.view_as(padded)), weight=to_weight)

    def _groups(self, is_open: Tensor) -> Iterator[_Group]:
        """Give what is computed, slice by slice, range by range of inputs."""
        for stage in self._stages:
            gates = is_open if stage.is_gated else torch.ones_like(is_open[:, :1])
            for part in stage.parts:
                for outputs, shift in part.groups():
                    yield from self._of_group(part, outputs, shift, gates)

    def _of_group(self, part: Part, outputs: range, shift: int, gates: Tensor) -> Iterator[_Group]:
        size = self._outputs // gates.shape[1]
        for index in range(outputs.start // size, -(-outputs.stop // size)):
            pixels = places(gates[:, index])
            rows = torch.arange(len(pixels), device=pixels.device) if self._is_compact else pixels
            own = range(max(outputs.start, index * size), min(outputs.stop, (index + 1) * size))
            for inputs in part.inputs:
                shifted = range(inputs.start + shift, inputs.stop + shift)
                yield _Group(outputs=own, inputs=shifted, pixels=pixels, rows=rows)


def _columns(channels: range) -> slice:
    return slice(channels.start, channels.stop)


__all__ = ["Gradients", "Rows", "Stage"]
