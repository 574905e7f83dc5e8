"""Backbones: Lightly's CIFAR ResNets of any width, torchvision's ImageNet ResNets."""

from collections.abc import Callable
from typing import Any

import torch
import torchvision
from lightly.models import ResNetGenerator
from torch import nn

from bench.config.run import EncoderSpec
from bench.training.pointwise import subsample_first
from bench.training.pooling import AnySizeResNet

CIFAR_NAMES = ("resnet-9", "resnet-18", "resnet-34", "resnet-50")
IMAGENET_BUILDERS: dict[str, Callable[[], Any]] = {
    "resnet-18": torchvision.models.resnet18,
    "resnet-34": torchvision.models.resnet34,
    "resnet-50": torchvision.models.resnet50,
}


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
        if spec.name not in IMAGENET_BUILDERS or spec.width != 1:
            raise ValueError(
                f"encoder {spec.name!r} at width {spec.width} with an ImageNet stem is unknown. "
                f"Choose from {', '.join(IMAGENET_BUILDERS)} at width 1."
            )
        encoder = IMAGENET_BUILDERS[spec.name]()
        features = int(encoder.fc.in_features)
        encoder.fc = nn.Identity()
    subsample_first(encoder)
    channels_last: nn.Module = encoder.to(memory_format=torch.channels_last)
    return channels_last, features
