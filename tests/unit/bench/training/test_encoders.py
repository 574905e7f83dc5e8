"""Encoders of the ImageNet stem are torchvision's, at any width; those of strided 1x1 convolutions compute the same."""

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from bench.config.run import EncoderSpec
from bench.training import encoders
from bench.training.encoders import IMAGENET_STAGES
from bench.training.pointwise import SubsampledPointwise, subsample_first


def built(name: str, width: float) -> tuple[nn.Module, int]:
    with torch.device("meta"):  # shapes alone
        return encoders.build(EncoderSpec(name=name, width=width, stem="imagenet"))


def shapes(encoder: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in encoder.state_dict().items()}


def layout(encoder: nn.Module) -> list[tuple[object, ...]]:
    convolutions = [each for each in encoder.modules() if isinstance(each, nn.Conv2d)]
    return [(each.kernel_size, each.stride, each.padding, each.dilation) for each in convolutions]


@pytest.mark.parametrize("name", IMAGENET_STAGES)
def test_at_width_one_it_is_torchvisions_without_the_classifier(name: str) -> None:
    ours, features = built(name, 1.0)
    with torch.device("meta"):
        theirs = get_model(name.replace("-", ""))
    assert features == theirs.fc.in_features
    theirs.fc = nn.Identity()
    assert shapes(ours) == shapes(theirs)
    assert layout(ours) == layout(theirs)


@pytest.mark.parametrize(
    ("width", "channels"), [(0.001, [1, 1, 1, 1]), (0.02, [1, 3, 5, 10]), (2.0, [128, 256, 512, 1024])]
)
def test_the_width_scales_the_stages_and_not_the_stem(width: float, channels: list[int]) -> None:
    encoder, features = built("resnet-18", width)
    assert encoder.get_parameter("conv1.weight").shape[0] == 64
    assert [encoder.get_parameter(f"layer{stage}.0.conv1.weight").shape[0] for stage in (1, 2, 3, 4)] == channels
    images = torch.empty((2, 3, 64, 64), device="meta")
    assert encoder(images).shape == (2, features) == (2, channels[-1])


def test_dropping_pixels_first_leaves_padded_convolutions_alone_and_keeps_groups() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(4, 4, 1, stride=2, padding=1),
        nn.Conv2d(4, 4, 1, stride=2, padding="valid"),
        nn.Conv2d(4, 6, 1, stride=2, groups=2),
        nn.Conv2d(6, 6, 3, stride=2, padding=1),
    )
    images = torch.randn(2, 4, 40, 40)
    before = network(images)
    subsample_first(network)
    assert [type(each) is SubsampledPointwise for each in network] == [False, True, True, False]
    torch.testing.assert_close(network(images), before)
