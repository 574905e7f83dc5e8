"""What constants add to a padded convolution that does not read them any more: less, where padding is under the kernel.

A constant that a convolution with zero padding reads adds the same to each pixel of its output, except near the border,
where part of the kernel lies outside. That is a convolution of ones, the same for all images. Source: ours.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class BorderedConv2d(nn.Conv2d):
    """A convolution that adds, beside its bias, the same map to the output of each image.

    Attributes:
        border: buffer ``[out_channels, 1, kernel height, kernel width]``: the map is what the convolution, its padding
            included, makes of an image of ones with this weight. So it fits images of any size.
    """

    border: Tensor

    _known: tuple[tuple[object, ...], Tensor] | None = None  # the map that was added last, and of what size and type

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the base class's name
        """Return the convolution of ``[B, C, H, W]`` plus the map."""
        values = super().forward(input)
        if torch.compiler.is_exporting():
            return values.add_(self._map(input))  # a program holds what makes the map
        kind = (*input.shape[2:], input.dtype, values.dtype, values.device)
        if self._known is None or self._known[0] != kind:
            self._known = (kind, self._map(input))
        return values.add_(self._known[1])

    def _map(self, images: Tensor) -> Tensor:
        """Return ``[1, out_channels, H', W']``."""
        ones = images.new_ones((1, 1, *images.shape[2:]))
        values: Tensor = self._conv_forward(ones, self.border, None)
        return values.contiguous(memory_format=torch.channels_last)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "BorderedConv2d":  # noqa: FBT001, FBT002
        self._known = None
        moved: BorderedConv2d = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch's
        return moved

    def _load_from_state_dict(self, *args: Any, **named: Any) -> None:
        self._known = None
        super()._load_from_state_dict(*args, **named)


@torch.no_grad()
def give(conv: nn.Conv2d, border: Tensor) -> BorderedConv2d:
    """Make a convolution, in place, one that adds a border; return it.

    Args:
        conv: of one group; where it has a border already, both are added.
        border: as the attribute of ``BorderedConv2d``.

    Raises:
        ValueError: the convolution is of a class of its own, whose forward pass nobody here knows.
    """
    if type(conv) not in {nn.Conv2d, BorderedConv2d}:
        raise ValueError(
            f"{type(conv).__name__} is no plain convolution: what constants add at its borders is unknown. "
            "Only plain networks can be compacted."
        )
    whole = border + conv.border if isinstance(conv, BorderedConv2d) else border
    conv.__class__ = BorderedConv2d
    conv.register_buffer("border", whole.to(conv.weight))
    assert isinstance(conv, BorderedConv2d)
    return conv


__all__ = ["BorderedConv2d", "give"]
