"""A convolution, or a part of one, prepared for the compiled kernel: it is computed where it is open."""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.gating import compiled
from methods.gating.tables import Part, Tables, whole


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
        self._tables = Tables(conv, whole(conv) if parts is None else parts)
        packed = self._tables.packed(conv.weight * scale[:, None, None, None])
        self.register_buffer("weight", packed, persistent=False)
        self.register_buffer("bias", bias.contiguous(), persistent=False)
        self.adds = adds

    def output(self, images: Tensor, *, fill: float | None = None) -> Tensor:
        """Return room for the outputs, ``[N, out_channels, H', W']`` in channels-last memory; filled or as it is."""
        count, channels, high, wide = self._tables.shape(images)
        made = images.new_empty(count, high, wide, channels)
        return (made if fill is None else made.fill_(fill)).permute(0, 3, 1, 2)

    def write(self, output: Tensor, images: Tensor, is_open: Tensor | None = None) -> Tensor:
        """Put the convolution's outputs where they are open, leave the others alone, and return the output.

        Args:
            output: as ``output`` returns it.
            images: ``[N, in_channels, H, W]``, fastest in channels-last memory.
            is_open: bool ``[N, slices, H', W']``; a slice is so many neighbouring channels that all together are all;
                ``None``: everything is open.
        """
        images, is_open = _flat(images), None if is_open is None else is_open.contiguous()
        job = self._job(output, images, is_open)
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
        is_open = torch.empty(size[0], len(levels), *size[2:], dtype=torch.bool)
        jobs = (self._job(output, images, None), more._job(output, images, is_open))  # noqa: SLF001 (of this class)
        addresses = [ctypes.addressof(job) for job in jobs]
        compiled.library().write(*addresses, levels.data_ptr(), torch.get_num_threads())
        return output

    def _job(self, output: Tensor, images: Tensor, is_open: Tensor | None) -> compiled.Job:
        return self._tables.job(images, output, is_open, weight=self.weight, bias=self.bias, adds=self.adds)


def suits(conv: nn.Conv2d) -> bool:
    """Return whether the kernel can compute a convolution: one group, zero padding in pixels, single precision, CPU."""
    is_plain = conv.groups == 1 and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    return is_plain and conv.weight.dtype == torch.float32 and conv.weight.device.type == "cpu"


def why_not_compiled(conv: nn.Conv2d) -> str:
    """Return why PyTorch computes a convolution's open pixels; nothing where the compiled kernel does."""
    if not suits(conv):
        return "the compiled kernel is for the CPU and single precision"
    return compiled.missing()


def _flat(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


__all__ = ["OpenConv", "suits", "why_not_compiled"]
