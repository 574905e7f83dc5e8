"""CIFAR ResNets that pool whatever map is left, so that images of any size go through."""

import torch
from lightly.models.resnet import ResNet
from torch import Tensor
from torch.nn import functional


class AnySizeResNet(ResNet):  # type: ignore[misc]  # Lightly is untyped here
    """Lightly's CIFAR ResNet, whose average covers the whole last map.

    Lightly's pools windows of 4x4, which is the whole map of 32x32 images alone: for these both are the same call.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return features ``[B, F]`` of images ``[B, 3, H, W]``; H and W are at least 8."""
        maps = functional.relu(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            maps = stage(maps)
        pooled = functional.avg_pool2d(maps, maps.shape[-2:])
        features: Tensor = self.linear(torch.flatten(pooled, 1))
        return features
