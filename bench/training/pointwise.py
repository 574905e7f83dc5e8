"""Strided 1x1 convolutions that first drop the pixels they skip."""

from torch import Tensor, nn
from torch.nn import functional


class SubsampledPointwise(nn.Conv2d):
    """A 1x1 convolution with a stride, as a 1x1 convolution without one over every stride-th pixel.

    oneDNN's backward pass of a strided 1x1 convolution over few input channels (2, 4 or 6, channels-last, AVX2) writes
    beyond its buffers: wrong gradients at best, a crash at worst (torch 2.14.1). What is computed here instead is
    the same function, and was the same to the last bit for every shape of the profiles that oneDNN gets right.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the base class's name
        """Return the convolution of ``[B, C, H, W]``, shape ``[B, K, ceil(H / stride), ceil(W / stride)]``."""
        rows, columns = self.stride
        return functional.conv2d(input[:, :, ::rows, ::columns], self.weight, self.bias, groups=self.groups)


def subsample_first(encoder: nn.Module) -> None:
    """Let every strided 1x1 convolution without padding drop pixels first, in place; parameters stay as they are."""
    for module in encoder.modules():
        if type(module) is nn.Conv2d and module.kernel_size == (1, 1) and module.stride != (1, 1):
            if module.padding not in {(0, 0), "valid"}:
                continue  # a padded one reads zeros that dropping pixels would not keep
            module.__class__ = SubsampledPointwise
