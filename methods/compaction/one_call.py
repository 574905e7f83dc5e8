"""An encoder whose forward pass is one call of a compiled kernel, on a CPU, for inference."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from methods import native
from methods.compaction.kernel import Panels, Program, library
from methods.compaction.lowering import Layer, lowered
from methods.compaction.surgery import folded
from methods.native import NoKernelError


def missing() -> str:
    """Return why there is no compiled kernel; nothing where there is one."""
    return native.missing(library)


class Fused(nn.Module):
    """Computes what an encoder does in evaluation mode, up to rounding, in one call of the compiled kernel.

    The kernel takes float32 images on the CPU. Any other images, such as those on a GPU, and programs that are being
    exported get the plain encoder, which moves, is saved and loaded as ever.

    Args:
        plain: in evaluation mode, for inference alone. Weights are packed here, once, and again after they are moved or
            loaded, but not after they are written in place.

    Attributes:
        plain: the encoder, normalisation folded.

    Raises:
        ValueError: the encoder cannot be traced, or does what the kernel cannot.
        NoKernelError: there is no compiler, or it cannot build the kernel.
    """

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        self.plain = folded(plain)
        self._lanes = int(library().lanes())
        self._packed: tuple[list[Layer], list[Panels | None]] | None = self._pack()
        self._programs: dict[tuple[int, int, int], Program] = {}
        self.eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return the features ``[N, F]`` of images ``[N, C, H, W]``."""
        if images.device.type != "cpu" or images.dtype is not torch.float32 or torch.compiler.is_exporting():
            features: Tensor = self.plain(images)
            return features
        if self._packed is None:
            self._packed = self._pack()
        size = (images.shape[1], images.shape[2], images.shape[3])
        program = self._programs.get(size)
        if program is None:
            program = self._programs[size] = Program(*self._packed, size)
        return program(images)

    def _pack(self) -> tuple[list[Layer], list[Panels | None]]:
        layers = lowered(self.plain)
        return layers, [None if each.weight is None else Panels.of(each.weight, self._lanes) for each in layers]

    def _forget(self) -> None:
        self._packed, self._programs = None, {}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Fused":  # noqa: FBT001, FBT002
        self._forget()
        moved: Fused = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch's
        return moved

    def _load_from_state_dict(self, *args: Any, **named: Any) -> None:
        self._forget()
        super()._load_from_state_dict(*args, **named)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None, "_programs": {}}  # they point into this process's memory


def fused(encoder: nn.Module) -> nn.Module:
    """Return a copy of an encoder that computes the same, up to rounding, in one call of a compiled kernel on a CPU.

    It pays for encoders that are compacted, whose layers are too small for a library's calls, and for single images.
    Threads share the images of a batch: a single image is computed by one. Where the kernel cannot be had, the copy is
    the plain encoder with its normalisation folded, and a warning says why.

    Args:
        encoder: plain or compacted; the copy is in evaluation mode and for inference alone.

    Raises:
        ValueError: the encoder cannot be traced, or does what the kernel cannot.
    """
    try:
        return Fused(encoder)
    except NoKernelError as error:
        warnings.warn(f"the encoder is computed by PyTorch, layer by layer, which is slower: {error}.", stacklevel=2)
        return folded(encoder)
