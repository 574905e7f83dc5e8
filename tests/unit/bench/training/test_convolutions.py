"""Every convolution of every profile computes right gradients here, in the memory format of training."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from bench.config.run import EncoderSpec
from bench.tables import TABLES
from bench.training import encoders
from bench.training.pointwise import SubsampledPointwise
from tests.table_sizes import SIZES
from tests.tiny import tiny_run

IMAGES = 2


def sizes() -> set[EncoderSpec]:
    """Return every encoder of every table and profile, and that of the tests."""
    tables = [TABLES[name](profile, TABLES[name].data) for name, profile in SIZES]
    return {tiny_run("simclr", "dense").encoder, *(run.encoder for table in tables for run in table.cells)}


def shapes() -> Iterator[tuple[nn.Conv2d, int]]:
    """Return each kind of convolution once, with the height of the maps it reads."""
    seen = set()
    for spec in sorted(sizes(), key=str):
        for layer, height in layers(spec):
            kind = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, height)
            if kind not in seen:
                seen.add(kind)
                yield layer, height


def layers(spec: EncoderSpec) -> list[tuple[nn.Conv2d, int]]:
    """Return the convolutions of an encoder with the height of the maps they read."""
    encoder, _ = encoders.build(spec)
    found: list[tuple[nn.Conv2d, int]] = []
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda layer, inputs, _: found.append((layer, inputs[0].shape[2])))
    encoder.eval()(torch.zeros(1, 3, 32, 32))
    return found


def gradients(layer: nn.Conv2d, images: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor]:
    images = images.detach().requires_grad_()
    outputs = layer(images)
    upstream = upstream.to(outputs.dtype).contiguous(memory_format=torch.channels_last)
    of_images, of_weight = torch.autograd.grad(outputs, (images, layer.weight), upstream)
    return of_images.double(), of_weight.double()


def test_gradients_of_every_shape_are_those_of_double_precision() -> None:
    for layer, height in shapes():
        plain = copy.deepcopy(layer).double()
        plain.__class__ = nn.Conv2d  # strided 1x1 convolutions as the library computes them
        images = torch.randn(IMAGES, layer.in_channels, height, height)
        upstream = torch.randn_like(plain(images.double()))
        exact = gradients(plain, images.double(), upstream)
        for form in (torch.channels_last, torch.contiguous_format):
            here = gradients(layer.to(memory_format=form), images.contiguous(memory_format=form), upstream)
            for found, wanted in zip(here, exact, strict=True):
                torch.testing.assert_close(found, wanted, rtol=0.0, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("stride", [1, 2, (2, 3)])
def test_dropping_pixels_first_is_the_strided_convolution(stride: int | tuple[int, int]) -> None:
    plain = nn.Conv2d(3, 5, 1, stride=stride)
    dropping = SubsampledPointwise(3, 5, 1, stride=stride)
    dropping.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 7, 8)
    torch.testing.assert_close(dropping(images), plain(images))


def test_no_strided_pointwise_convolution_is_left_to_the_library() -> None:
    for spec in sizes():
        encoder, _ = encoders.build(spec)
        strided = [each for each in encoder.modules() if isinstance(each, nn.Conv2d) and each.stride != (1, 1)]
        assert {type(each) for each in strided if each.kernel_size == (1, 1)} == {SubsampledPointwise}, spec
