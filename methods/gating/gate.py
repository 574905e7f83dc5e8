"""The gate: a threshold on normalised outputs, a step forward, a sigmoid's slope backward."""

from typing import Any

import torch
from torch import Tensor, nn

SLOPE = 2.0  # alpha of both authors' codes: how steep the sigmoid is that stands in for the step's derivative
ALL_ON = -1e6  # a threshold below every normalised value; finite, so that averages of thresholds stay finite


class Gate(nn.Module):
    """A threshold per slice of ``slice_channels`` output channels on the normalised base path.

    The threshold is ``aim + deviation``: the aim is one number that a controller moves, the deviation is learned, and
    the authors' penalty ``(threshold - aim)^2`` pulls it to 0. With the aim fixed this is their parametrisation; with
    it apart, a controller still acts when the learning rate is near 0, and weight decay pulls towards the aim.

    Normalisation has no affine part, so that thresholds mean standard deviations, and running statistics, so that at
    test the gate of one image does not depend on the others. (``Conv2d_CG`` uses the statistics of each image's map
    instead, which fails on 1x1 maps.)

    Attributes:
        deviation: ``[slices]``.
        aim: scalar buffer.
    """

    aim: Tensor

    def __init__(self, channels: int, slice_channels: int) -> None:
        super().__init__()
        self.slices = channels // slice_channels
        self.slice_channels = slice_channels
        self.normalisation = nn.BatchNorm2d(self.slices, affine=False)
        self.deviation = nn.Parameter(torch.zeros(self.slices))
        self.register_buffer("aim", torch.zeros(()))

    def forward(self, base: Tensor) -> Tensor:
        """Return gates ``[N, slices, H, W]``, 0. or 1., of a base path ``[N, channels, H, W]``.

        Raises:
            ValueError: in training, if there is only one value per slice: its normalised value would be 0 always.
        """
        saliency = base.unflatten(1, (-1, self.slice_channels)).mean(2) if self.slice_channels > 1 else base
        if self.training and saliency.numel() == self.slices:
            raise ValueError("a gate cannot be trained on one image with a 1x1 map: use a batch of at least 2.")
        margin = self.normalisation(saliency) - (self.aim + self.deviation)[:, None, None]
        gates: Tensor = _Step.apply(margin)
        return gates

    def overhead_macs(self, base: Tensor) -> int:
        """Return the element-wise operations per image: the slice's mean, one to normalise and one to compare."""
        elements = base[0].numel()
        slices = elements // self.slice_channels
        return 2 * slices + (elements if self.slice_channels > 1 else 0)


class _Step(torch.autograd.Function):
    """1 where positive, else 0; backwards, the derivative of ``sigmoid(SLOPE * margin)``."""

    @staticmethod
    def forward(ctx: Any, margin: Tensor) -> Tensor:
        ctx.save_for_backward(margin)
        return (margin > 0).to(margin.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (margin,) = ctx.saved_tensors
        soft = torch.sigmoid(SLOPE * margin)
        slope: Tensor = torch.ops.aten.sigmoid_backward(gradient, soft)
        return slope.mul_(SLOPE)
