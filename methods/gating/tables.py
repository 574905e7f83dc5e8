"""What the compiled kernels know of a convolution, or of a part of one: which weights meet which inputs where."""

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.gating import compiled
from methods.gating.compiled import Job
from methods.gating.windows import Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Output channels that are computed at the same pixels from the same input channels.

    Attributes:
        outputs: the channels.
        inputs: ranges of input channels, of the first group.
        group: how many outputs make a group; ``len(outputs)``: all are one.
        shift: how many input channels a group reads further on than the one before.
    """

    outputs: range
    inputs: Sequence[range]
    group: int
    shift: int = 0

    def groups(self) -> Iterator[tuple[range, int]]:
        """Give the outputs of every group, and how many input channels further on it reads than the first."""
        for place, first in enumerate(range(self.outputs.start, self.outputs.stop, self.group)):
            yield range(first, min(first + self.group, self.outputs.stop)), place * self.shift


def whole(conv: nn.Conv2d) -> tuple[Part, ...]:
    """Return the one part that is all of a convolution."""
    outputs = range(conv.out_channels)
    return (Part(outputs=outputs, inputs=[range(conv.in_channels)], group=len(outputs)),)


class Tables:
    """The tables of a convolution's parts, and the order in which their weights are read. They are of no one weight.

    Args:
        conv: with one group, zero padding given in pixels.
        parts: what of it is computed.

    Attributes:
        windows: what lies under the kernel.

    Raises:
        NoKernelError: there is no compiled kernel here.
        ValueError: the convolution is of another kind.
    """

    def __init__(self, conv: nn.Conv2d, parts: Sequence[Part]) -> None:
        library = compiled.library()
        self._width, self._lanes = int(library.width()), int(library.lanes())
        self.windows = Windows.of(conv)
        self._inputs, self._outputs, self._numbers = conv.in_channels, conv.out_channels, 0
        segments: list[tuple[int, ...]] = []
        panels: list[tuple[int, ...]] = []
        tables: list[tuple[int, ...]] = []
        for part in parts:
            under = list(self._segments(part))
            wide = list(self._panels(part, sum(segment[3] for segment in under)))
            tables.append((part.outputs.start, part.outputs.stop, len(segments), len(under), len(panels), len(wide)))
            segments += under
            panels += wide
        self._tables = [torch.tensor(each) for each in (segments, panels, tables)]  # as ``open_pixels.h`` has them

    def shape(self, images: Tensor) -> tuple[int, int, int, int]:
        """Return that of the output, ``[N, out_channels, H', W']``."""
        return len(images), self._outputs, *self.windows.size(images)

    def packed(self, weight: Tensor) -> Tensor:
        """Return weights ``[out_channels, in_channels, ...]`` in the order in which they are read, flat."""
        _require(weights=weight)
        panels = weight.new_empty(self._numbers)
        filters = filters_of(weight)
        job = self._job({"weight": panels}, {})
        compiled.library().pack(ctypes.addressof(job), filters.data_ptr())
        return panels

    def job(
        self,
        images: Tensor,
        output: Tensor,
        is_open: Tensor | None,
        *,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        adds: bool = False,
        compact: bool = False,
    ) -> Job:
        """Return what a kernel is told; the tensors must outlive it.

        Args:
            images: ``[N, in_channels, H, W]`` in channels-last memory.
            output: ``[N, out_channels, H', W']`` in channels-last memory; if compact, ``[open pixels, out_channels]``.
            is_open: bool ``[N, slices, H', W']``, contiguous; ``None``: all of one slice is open.
            weight: as ``packed`` returns it; ``None``: the kernel needs none.
            bias: ``[out_channels]``; ``None``: the kernel needs none.
            adds: whether the kernel adds to what the output holds, and no bias.
            compact: whether the output has open pixels alone, in their order.

        Raises:
            ValueError: a tensor is of another shape, place or precision than the kernel reads.
        """
        expected = self.shape(images)
        slices = 1 if is_open is None else is_open.shape[1] if is_open.ndim == 4 else 0
        fits = slices > 0 and expected[1] % slices == 0
        if is_open is not None:
            fits = fits and is_open.shape == (len(images), slices, *expected[2:]) and is_open.dtype == torch.bool
        if compact:
            fits = fits and slices == 1 and output.shape[1:] == expected[1:2] and output.is_contiguous()
        else:
            fits = fits and output.shape == expected and output.permute(0, 2, 3, 1).is_contiguous()
        if not fits:
            gates = "none" if is_open is None else list(is_open.shape)
            raise ValueError(f"output {list(output.shape)} and gates {gates} do not fit {list(expected)}.")
        named = {"images": images, "output": output, "weights": weight}
        _require(**{name: tensor for name, tensor in named.items() if tensor is not None})
        return self._job(
            {"output": output, "input": images, "weight": weight, "bias": bias, "is_open": is_open},
            {
                **dict(zip(("images", "channels", "height", "width"), images.shape, strict=True)),
                **dict(zip(("high", "wide"), expected[2:], strict=True)),
                "slices": slices,
                "adds": adds,
                "compact": compact,
            },
        )

    def _job(self, tensors: Mapping[str, Tensor | None], numbers: Mapping[str, int]) -> Job:
        (high, wide), (down, across) = self.windows.kernel, self.windows.stride
        return Job(
            **dict(zip(("segments", "panels", "parts"), (table.data_ptr() for table in self._tables), strict=True)),
            **{name: tensor.data_ptr() for name, tensor in tensors.items() if tensor is not None},
            **numbers,
            outputs=self._outputs,
            part_count=len(self._tables[2]),
            down=down,
            across=across,
            filter=high * wide * self._inputs,
        )

    def _segments(self, part: Part) -> Iterator[tuple[int, int, int, int, int]]:
        """Give row, column, first channel, channels and place in a filter of what lies under the first group."""
        apart, padding = self.windows.dilation, self.windows.padding
        for place, (row, column) in enumerate(self.windows.positions()):
            top, left = row * apart[0] - padding[0], column * apart[1] - padding[1]
            for inputs in part.inputs:
                yield top, left, inputs.start, len(inputs), place * self._inputs + inputs.start

    def _panels(self, part: Part, under: int) -> Iterator[tuple[int, int, int, int]]:
        """Give first and last output, shift and place among all weights of each panel."""
        for outputs, shift in part.groups():
            for first in range(outputs.start, outputs.stop, self._width):
                last = min(first + self._width, outputs.stop)
                yield first, last, shift, self._numbers
                self._numbers += under * (self._width if last - first > self._lanes else self._lanes)


def filters_of(weight: Tensor) -> Tensor:
    """Return a convolution's weights as filters ``[out_channels, height, width, in_channels]``, contiguous."""
    return weight.detach().permute(0, 2, 3, 1).contiguous()


def _require(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            raise ValueError(
                f"{name} are {tensor.dtype} on {tensor.device}: what skips here was prepared for the CPU in single "
                "precision. Move the encoder before `skipping` prepares it."
            )


__all__ = ["Part", "Tables", "filters_of", "whole"]
