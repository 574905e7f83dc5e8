"""Backbones: Lightly's CIFAR ResNets of any width, torchvision's ImageNet ResNets."""

import torch
from lightly.models import ResNetGenerator
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from bench.config.run import EncoderSpec
from bench.training.pointwise import subsample_first
from bench.training.pooling import AnySizeResNet

CIFAR_NAMES = ("resnet-9", "resnet-18", "resnet-34", "resnet-50")
IMAGENET_STAGES: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet-18": (BasicBlock, [2, 2, 2, 2]),
    "resnet-34": (BasicBlock, [3, 4, 6, 3]),
    "resnet-50": (Bottleneck, [3, 4, 6, 3]),
}


class ImageNetResNet(ResNet):  # type: ignore[misc]  # torchvision has no types
    """torchvision's ResNet; its four stages have ``width`` times as many channels. At width 1 it is torchvision's.

    The stem keeps its 64 channels, so that thin encoders see as much of an image as wide ones.
    """

    def __init__(self, block: type[BasicBlock | Bottleneck], layers: list[int], *, width: float) -> None:
        self._width = width
        super().__init__(block, layers)

    def _make_layer(
        self,
        block: type[BasicBlock | Bottleneck],
        planes: int,
        blocks: int,
        stride: int = 1,
        dilate: bool = False,  # noqa: FBT001, FBT002
    ) -> nn.Sequential:
        made: nn.Sequential = super()._make_layer(block, max(1, round(planes * self._width)), blocks, stride, dilate)
        return made


def build(spec: EncoderSpec) -> tuple[nn.Module, int]:
    """Return a channels-last encoder and the length F of its features.

    The encoder maps float32 ``[B, 3, H, W]`` to ``[B, F]``; the CIFAR stem (He et al. 2016, section 4.2, as in
    Lightly's ``ResNetGenerator``) takes any size from 8 on. Lightly's documented idiom, ``Sequential`` over the
    children, loses the ReLU behind the stem, which lives in ``forward``; replacing the classifier keeps it
    (deviation 8).

    Weights come from torch's global random generator: seed it first.

    Raises:
        ValueError: no such encoder.
    """
    if spec.stem == "cifar":
        if spec.name not in CIFAR_NAMES:
            raise ValueError(
                f"encoder {spec.name!r} with a CIFAR stem is unknown. Choose from {', '.join(CIFAR_NAMES)}."
            )
        encoder = ResNetGenerator(spec.name, width=spec.width)
        encoder.__class__ = AnySizeResNet
        features = int(encoder.linear.in_features)
        encoder.linear = nn.Identity()
    else:
        if spec.name not in IMAGENET_STAGES:
            raise ValueError(
                f"encoder {spec.name!r} with an ImageNet stem is unknown. Choose from {', '.join(IMAGENET_STAGES)}."
            )
        encoder = ImageNetResNet(*IMAGENET_STAGES[spec.name], width=spec.width)
        features = encoder.inplanes
        encoder.fc = nn.Identity()
    subsample_first(encoder)
    channels_last: nn.Module = encoder.to(memory_format=torch.channels_last)
    return channels_last, features
