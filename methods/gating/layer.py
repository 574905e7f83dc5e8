"""What every gated layer is, and how it gets into an encoder that knows nothing of gates."""

import abc
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a gated layer did in one forward pass over N images.

    Attributes:
        gates: bool ``[N, ...]``: what was decided; true means computed.
        shares: ``[N]``: executed MACs of the convolution as a fraction of its dense ones.
        overhead_macs: element-wise operations per image that only the decision needs, one MAC each.
    """

    gates: Tensor
    shares: Tensor
    overhead_macs: int


class Gated(nn.Module, abc.ABC):
    """A convolution that decides, image by image, what of it to compute.

    It stands where the convolution stood. Convolutions and linear layers that only the decision needs live beside
    ``conv`` in this module; their MACs are counted as the gate's overhead.

    Attributes:
        conv: the convolution, with its mask.
        tally: float64 ``[2]``: executed shares summed over the images seen in training, and how many these were.
            A buffer, so that a resumed run counts on.
        notes: of each forward pass since a list was put here; ``None``: nobody asks.
    """

    tally: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.register_buffer("tally", torch.zeros(2, dtype=torch.float64))
        self.notes: list[Note] | None = None

    @torch.no_grad()
    def note(self, gates: Tensor, shares: Callable[[], Tensor], *, overhead_macs: int) -> None:
        """Say what this forward pass did. Every forward pass calls it once.

        Args:
            gates: ``[N, ...]``, on where above 0.
            shares: returns those of ``Note``; not asked where nobody counts or collects, which costs a tenth of a pass.
            overhead_macs: as in ``Note``.
        """
        if not self.training and self.notes is None:
            return
        executed = shares()
        if self.training:
            self.tally[0] += executed.sum(dtype=torch.float64)
            self.tally[1] += len(executed)
        if self.notes is not None:
            self.notes.append(Note(gates=gates > 0, shares=executed, overhead_macs=overhead_macs))


def gated(encoder: nn.Module) -> dict[str, Gated]:
    """Return the gated layers by path, in the order of the modules."""
    return {path: module for path, module in encoder.named_modules() if isinstance(module, Gated)}


def replace(encoder: nn.Module, path: str, layer: nn.Module) -> None:
    """Put ``layer`` where the module at ``path`` stands, in place and in its order."""
    parent, _, name = path.rpartition(".")
    setattr(encoder.get_submodule(parent), name, layer)


__all__ = ["Gated", "Note", "gated", "replace"]
