"""A convolution, or a part of one, prepared for the compiled kernel: it is computed where it is open."""

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.gating import compiled
from methods.gating.compiled import Job


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


class OpenConv(nn.Module):
    """A convolution of one group, for inference on the CPU in single precision, at the pixels it is asked for.

    Its weights are packed once, here: it must not change afterwards.

    Args:
        conv: with zero padding given in pixels.
        parts: what of it is computed; ``None``: all of it, at the same pixels.
        scale: ``[out_channels]``: what its outputs are multiplied with; ``None``: nothing.
        shift: ``[out_channels]``: what is added then; ``None``: nothing.
        adds: to what the output holds, and no bias.

    Raises:
        NoKernelError: there is no compiled kernel here.
        ValueError: the convolution is of another kind.
    """

    weight: Tensor
    bias: Tensor
    segments: Tensor
    panels: Tensor
    parts: Tensor

    @torch.no_grad()
    def __init__(
        self,
        conv: nn.Conv2d,
        parts: Sequence[Part] | None = None,
        *,
        scale: Tensor | None = None,
        shift: Tensor | None = None,
        adds: bool = False,
    ) -> None:
        super().__init__()
        if not suits(conv):
            raise ValueError(f"only single-precision CPU convolutions with one group are computed here, not {conv}.")
        ones, zeros = conv.weight.new_ones(conv.out_channels), conv.weight.new_zeros(conv.out_channels)
        scale, shift = ones if scale is None else scale, zeros if shift is None else shift
        bias = (zeros if conv.bias is None else conv.bias) * scale + shift
        every = range(conv.out_channels)
        whole = [Part(outputs=every, inputs=[range(conv.in_channels)], group=len(every))]
        packed = _Packed(conv, conv.weight * scale[:, None, None, None])
        for part in whole if parts is None else parts:
            packed.add(part)
        self.register_buffer("weight", torch.cat(packed.weights), persistent=False)
        self.register_buffer("bias", bias.contiguous(), persistent=False)
        for name in ("segments", "panels", "parts"):
            self.register_buffer(name, torch.tensor(getattr(packed, name)), persistent=False)
        self.adds = adds
        self._geometry = [
            (padding, dilation * (kernel - 1) + 1, stride)
            for padding, dilation, kernel, stride in zip(
                _pair(conv.padding), conv.dilation, conv.kernel_size, conv.stride, strict=True
            )
        ]

    def output(self, images: Tensor, *, fill: float | None = None) -> Tensor:
        """Return room for the outputs, ``[N, out_channels, H', W']`` in channels-last memory; filled or as it is."""
        high, wide = (
            (side + 2 * padding - span) // stride + 1
            for side, (padding, span, stride) in zip(images.shape[2:], self._geometry, strict=True)
        )
        made = images.new_empty(len(images), high, wide, len(self.bias))
        return (made if fill is None else made.fill_(fill)).permute(0, 3, 1, 2)

    def write(self, output: Tensor, images: Tensor, is_open: Tensor) -> Tensor:
        """Put the convolution's outputs where they are open, leave the others alone, and return the output.

        Args:
            output: as ``output`` returns it.
            images: ``[N, in_channels, H, W]``, fastest in channels-last memory.
            is_open: bool ``[N, slices, H', W']``; a slice is so many neighbouring channels that all together are all.
        """
        images, is_open = _flat(images), is_open.contiguous()
        job = self.job(output, images, is_open)
        compiled.library().write(ctypes.addressof(job), None, None, torch.get_num_threads())
        return output

    def write_gated(self, output: Tensor, images: Tensor, more: "OpenConv", levels: Tensor) -> Tensor:
        """Put the convolution's outputs everywhere, and more where a slice's outputs sum up to more than its level.

        Args:
            output: as ``output`` returns it.
            images: ``[N, in_channels, H, W]``.
            more: what is added where it is open.
            levels: ``[slices]``.
        """
        images, levels, size = _flat(images), levels.contiguous(), output.shape  # named: the kernel reads their memory
        everywhere = torch.ones(size[0], 1, *size[2:], dtype=torch.bool)
        is_open = torch.empty(size[0], len(levels), *size[2:], dtype=torch.bool)
        jobs = (self.job(output, images, everywhere), more.job(output, images, is_open))
        addresses = [ctypes.addressof(job) for job in jobs]
        compiled.library().write(*addresses, levels.data_ptr(), torch.get_num_threads())
        return output

    def job(self, output: Tensor, images: Tensor, is_open: Tensor) -> Job:
        """Return what the kernel is told; the tensors must outlive it.

        Raises:
            ValueError: a tensor is of another shape, place or precision than the kernel reads.
        """
        expected = self.output(images).shape
        slices = is_open.shape[1] if is_open.ndim == 4 else 0
        fits = is_open.shape == (len(images), slices, *expected[2:]) and slices and expected[1] % slices == 0
        is_plain = output.permute(0, 2, 3, 1).is_contiguous()
        if not fits or output.shape != expected or not is_plain or is_open.dtype != torch.bool:
            raise ValueError(
                f"output {list(output.shape)} and gates {list(is_open.shape)} do not fit {list(expected)}."
            )
        for name, tensor in (("images", images), ("output", output), ("weights", self.weight)):
            if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
                raise ValueError(
                    f"{name} are {tensor.dtype} on {tensor.device}: what skips here was prepared for the CPU in single "
                    "precision. Move the encoder before `skipping` prepares it."
                )
        tensors = (output, images, self.weight, self.bias, is_open, self.segments, self.panels, self.parts)
        count, channels, height, width = images.shape
        numbers = (count, height, width, channels, *expected[2:], expected[1], slices, len(self.parts))
        strides = [stride for _, _, stride in self._geometry]
        return Job(*(tensor.data_ptr() for tensor in tensors), *numbers, *strides, int(self.adds))


class _Packed:
    """The tables of a convolution's parts, and their weights in the order in which they are read."""

    def __init__(self, conv: nn.Conv2d, weight: Tensor) -> None:
        self._conv, self._weight, self._width = conv, weight, int(compiled.library().width())
        self.segments: list[tuple[int, ...]] = []
        self.panels: list[tuple[int, ...]] = []
        self.parts: list[tuple[int, ...]] = []
        self.weights: list[Tensor] = []
        self._filled = 0

    def add(self, part: Part) -> None:
        segments, panels = len(self.segments), len(self.panels)
        under = [(position, inputs) for position in self._positions() for inputs in part.inputs]
        for (row, column), inputs in under:
            top, left = (
                place * apart - padding
                for place, apart, padding in zip(
                    (row, column), self._conv.dilation, _pair(self._conv.padding), strict=True
                )
            )
            self.segments.append((top, left, inputs.start, len(inputs)))
        for group in range(part.outputs.start, part.outputs.stop, part.group):
            shift = (group - part.outputs.start) // part.group * part.shift
            end = min(group + part.group, part.outputs.stop)
            for first in range(group, end, self._width):
                last = min(first + self._width, end)
                self.panels.append((first, last, shift, self._filled))
                read = [
                    self._weight[first:last, inputs.start + shift : inputs.stop + shift, row, column]
                    for (row, column), inputs in under
                ]
                self._pack(torch.cat(read, 1))
        made = (len(self.segments) - segments, panels, len(self.panels) - panels)
        self.parts.append((part.outputs.start, part.outputs.stop, segments, *made))

    def _positions(self) -> Iterator[tuple[int, int]]:
        high, wide = self._conv.kernel_size
        yield from ((row, column) for row in range(high) for column in range(wide))

    def _pack(self, weight: Tensor) -> None:
        panel = weight.new_zeros(weight.shape[1], self._width)
        panel[:, : len(weight)] = weight.t()
        self.weights.append(panel.flatten())
        self._filled += panel.numel()


def suits(conv: nn.Conv2d) -> bool:
    """Return whether the kernel can compute a convolution: one group, zero padding in pixels, single precision, CPU."""
    is_plain = conv.groups == 1 and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    return is_plain and conv.weight.dtype == torch.float32 and conv.weight.device.type == "cpu"


def _flat(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _pair(padding: str | tuple[int, ...]) -> tuple[int, ...]:
    assert not isinstance(padding, str)
    return padding


__all__ = ["OpenConv", "Part", "suits"]
