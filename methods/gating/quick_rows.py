"""A convolution and its gradients at open pixels, by the compiled kernels."""

import ctypes
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from methods.gating import compiled
from methods.gating.rows import Gradients, Stage
from methods.gating.tables import Tables, filters_of


@final
class QuickRows:
    """Computes what ``Rows`` does, on the CPU in single precision; arguments are the same. Stages are one or two.

    Raises:
        NoKernelError: there are no compiled kernels here.
    """

    def __init__(self, conv: nn.Conv2d, stages: Sequence[Stage], *, is_compact: bool) -> None:
        self._stages = [(Tables(conv, stage.parts), stage.is_gated) for stage in stages]
        self._is_compact = is_compact

    def forward(self, images: Tensor, weight: Tensor, is_open: Tensor) -> Tensor:
        """Return the outputs, as ``Rows.forward`` does."""
        images, is_open = _flat(images), is_open.contiguous()
        output = self._output(images, is_open)
        nothing = output.new_zeros(len(weight))
        jobs: list[compiled.Job] = []
        packed = [tables.packed(weight) for tables, _ in self._stages]  # named: the kernel reads their memory
        for (tables, is_gated), panels in zip(self._stages, packed, strict=True):
            gates = is_open if is_gated else None
            adds, compact = bool(jobs), self._is_compact
            jobs.append(tables.job(images, output, gates, weight=panels, bias=nothing, adds=adds, compact=compact))
        addresses = [ctypes.addressof(job) for job in jobs]
        more = addresses[1] if len(addresses) > 1 else None
        compiled.library().write(addresses[0], more, None, torch.get_num_threads())
        return output

    def backward(self, images: Tensor, weight: Tensor, is_open: Tensor, errors: Tensor) -> Gradients:
        """Return the gradients, as ``Rows.backward`` does."""
        images, is_open, filters = _flat(images), is_open.contiguous(), filters_of(weight)
        errors = errors.contiguous() if self._is_compact else _flat(errors)
        to_images, to_filters = torch.zeros_like(images), torch.zeros_like(filters)
        for tables, is_gated in self._stages:
            job = tables.job(images, errors, is_open if is_gated else None, compact=self._is_compact)
            pointers = (ctypes.addressof(job), filters.data_ptr(), to_images.data_ptr(), to_filters.data_ptr())
            compiled.library().backward(*pointers, torch.get_num_threads())
        return Gradients(images=to_images, weight=to_filters.permute(0, 3, 1, 2))

    def _output(self, images: Tensor, is_open: Tensor) -> Tensor:
        """Return room for what is open, or for everything: 0 unless the first stage writes everything."""
        count, channels, high, wide = self._stages[0][0].shape(images)
        if self._is_compact:
            return images.new_empty(int(is_open.count_nonzero()), channels)
        make = images.new_zeros if self._stages[0][1] else images.new_empty
        return make(count, high, wide, channels).permute(0, 3, 1, 2)


def _flat(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


__all__ = ["QuickRows"]
