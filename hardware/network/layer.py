"""One layer as the model sees it."""

import enum
import math
from dataclasses import dataclass
from functools import cached_property

from hardware.checks import HardwareError, at_least


class Part(enum.Enum):
    """Which part of the framework a layer belongs to. The target has an encoder and a projector."""

    ENCODER = "encoder"
    PROJECTOR = "projector"
    PREDICTOR = "predictor"


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """One convolution; a linear layer is one with a 1 x 1 kernel on a 1 x 1 map. All sizes are of one image.

    Attributes:
        name: module path.
        part: encoder, projector or predictor.
        in_channels: C.
        in_height: H.
        in_width: W.
        out_channels: K.
        kernel_height: R.
        kernel_width: S.
        stride: in both directions.
        padding: on each side, in both directions.
        groups: the channels fall into so many independent convolutions.
        is_first: reads the image, so nobody needs the gradient of its input.
        has_batch_norm: batch normalisation follows.
        reads: the layer whose output channels alone it reads; null where a sum (a residual connection) or the
            image lies before it. A filter removed there removes an input channel here.
    """

    name: str
    part: Part
    in_channels: int
    in_height: int
    in_width: int
    out_channels: int
    kernel_height: int
    kernel_width: int
    stride: int
    padding: int
    groups: int
    is_first: bool
    has_batch_norm: bool
    reads: str | None

    def __post_init__(self) -> None:
        at_least(
            1,
            in_channels=self.in_channels,
            in_height=self.in_height,
            in_width=self.in_width,
            out_channels=self.out_channels,
            kernel_height=self.kernel_height,
            kernel_width=self.kernel_width,
            stride=self.stride,
            groups=self.groups,
        )
        at_least(0, padding=self.padding)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise HardwareError(
                f"{self.name}: {self.in_channels} input and {self.out_channels} output channels do not divide "
                f"into {self.groups} groups. Correct groups."
            )
        if min(self.out_height, self.out_width) < 1:
            raise HardwareError(f"{self.name}: the kernel is larger than the padded map. Correct padding.")

    @cached_property
    def out_height(self) -> int:
        """Height of the output map."""
        return (self.in_height + 2 * self.padding - self.kernel_height) // self.stride + 1

    @cached_property
    def out_width(self) -> int:
        """Width of the output map."""
        return (self.in_width + 2 * self.padding - self.kernel_width) // self.stride + 1

    @cached_property
    def kernel(self) -> int:
        """Kernel positions, R S."""
        return self.kernel_height * self.kernel_width

    @cached_property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(K, C / groups, R, S)."""
        return self.out_channels, self.in_channels // self.groups, self.kernel_height, self.kernel_width

    @cached_property
    def weight_grid(self) -> tuple[int, int, int]:
        """(K, C / groups, R S): what the model works with."""
        return self.out_channels, self.in_channels // self.groups, self.kernel

    @cached_property
    def weights(self) -> int:
        """Number of weights."""
        return math.prod(self.weight_grid)

    @cached_property
    def in_pixels(self) -> int:
        """Positions of the input map."""
        return self.in_height * self.in_width

    @cached_property
    def out_pixels(self) -> int:
        """Positions of the output map."""
        return self.out_height * self.out_width

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass of one image, zeros of the padding included."""
        return self.out_pixels * self.weights
