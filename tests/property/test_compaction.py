"""Laws of compaction (I71 to I74): without its dead channels an encoder is smaller and computes the same."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.config.run import EncoderSpec
from bench.training import encoders
from methods import macs, masking
from methods.compaction import compacted, folded, shaped
from methods.compaction.border import BorderedConv2d
from tests.strategies import tiny_encoder

SETTINGS = settings(max_examples=12)
SPECS = st.sampled_from(
    [
        EncoderSpec(name="resnet-9", width=0.0625),
        EncoderSpec(name="resnet-9", width=0.1),
        EncoderSpec(name="resnet-18", width=0.0625),
        EncoderSpec(name="resnet-50", width=0.03125),
        EncoderSpec(name="resnet-18", width=0.0625, stem="imagenet"),
    ]
)
DENSITIES = st.sampled_from([0.0, 0.02, 0.1, 0.3, 0.5, 0.8, 1.0])
PARTS = st.sampled_from(["filter", "input", "element"])
SEEDS = st.integers(0, 10_000)


@torch.no_grad()
def pruned(encoder: nn.Module, part: str, density: float, seed: int) -> nn.Module:
    """An encoder with statistics of its own, some normalisations that are dead, and zeros baked in."""
    generator = torch.Generator().manual_seed(seed)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.2, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            module.weight.normal_(generator=generator)
            module.weight[torch.rand(len(module.weight), generator=generator) < 0.1] = 0.0
            module.bias.normal_(generator=generator)
    masking.install(encoder)
    masks = masking.read(encoder)
    for path, mask in masks.items():
        shape = {"filter": (len(mask), 1, 1, 1), "input": (1, mask.shape[1], 1, 1), "element": mask.shape}[part]
        masks[path] = (torch.rand(shape, generator=generator) < density).float().expand_as(mask).contiguous()
    masking.write(encoder, masks)
    return masking.export(encoder).eval()


def built(spec: EncoderSpec, part: str, density: float, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return pruned(encoders.build(spec)[0], part, density, seed)


def images(seed: int, side: int = 16) -> Tensor:
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(seed))


def cost(encoder: nn.Module) -> int:
    return sum(macs.inference_macs(encoder, (3, 16, 16)).values())


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max()) + 1e-12


@SETTINGS
@given(SPECS, PARTS, DENSITIES, SEEDS)
@torch.no_grad()
def test_a_compacted_encoder_computes_the_same_and_costs_no_more(
    spec: EncoderSpec, part: str, density: float, seed: int
) -> None:
    encoder, seen = built(spec, part, density, seed), images(seed)
    before = encoder(seen)
    small = compacted(encoder)
    assert_same(small(seen), before)
    assert torch.equal(encoder(seen), before)
    features = before.shape[1]
    assert cost(small) <= cost(encoder) + features**2  # what puts features back in their places


@SETTINGS
@given(SPECS, PARTS, DENSITIES, SEEDS)
@torch.no_grad()
def test_compacting_twice_is_compacting_once(spec: EncoderSpec, part: str, density: float, seed: int) -> None:
    once = compacted(built(spec, part, density, seed))
    twice = compacted(once).state_dict()
    assert twice.keys() == once.state_dict().keys()
    assert all(torch.equal(tensor, twice[name]) for name, tensor in once.state_dict().items())


@SETTINGS
@given(SPECS, PARTS, DENSITIES, SEEDS)
@torch.no_grad()
def test_the_tensors_alone_tell_the_layers(spec: EncoderSpec, part: str, density: float, seed: int) -> None:
    small, seen = compacted(built(spec, part, density, seed)), images(seed)
    again = shaped(encoders.build(spec)[0], small.state_dict()).eval()
    again.load_state_dict(small.state_dict())
    assert torch.equal(again(seen), small(seen))
    frozen = {name: parameter.requires_grad for name, parameter in again.named_parameters()}
    assert frozen == {name: parameter.requires_grad for name, parameter in small.named_parameters()}


def assert_same_classes(found: Tensor, expected: Tensor) -> None:
    """Compare the largest outputs of images where one is clearly the largest."""
    top = expected.topk(2, dim=1).values
    is_clear = top[:, 0] - top[:, 1] > 1e-4 * expected.abs().max()
    assert torch.equal(found.argmax(1)[is_clear], expected.argmax(1)[is_clear])


def chain(*, bias: bool, classes: int = 0) -> nn.Sequential:
    """Three convolutions in a row, at whose borders padding shows."""
    made = nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1, bias=bias), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.Conv2d(6, 8, 3, padding=2, stride=2, bias=bias), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 5, 3, bias=bias), nn.BatchNorm2d(5), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(5, classes, bias=bias) if classes else nn.Identity(),
    )
    return made.eval()


@SETTINGS
@given(st.sampled_from(["bias", "no bias"]), st.sampled_from([0, 4]), PARTS, DENSITIES, SEEDS)
@torch.no_grad()
def test_no_class_changes_whatever_the_biases_and_the_padding(
    biases: str, classes: int, part: str, density: float, seed: int
) -> None:
    encoder = pruned(chain(bias=biases == "bias", classes=classes), part, density, seed)
    seen = images(seed, 9)
    expected, found = encoder(seen), compacted(encoder)(seen)
    assert_same(found, expected)
    assert_same_classes(found, expected)


@torch.no_grad()
def test_what_nothing_reads_what_is_zero_and_what_is_constant_is_gone() -> None:
    encoder: Any = chain(bias=False)
    first, second, third = (encoder[place] for place in (0, 3, 6))
    second.weight[[0, 1, 2]] = 0.0  # zero filters: constant behind their normalisation
    nn.init.ones_(encoder[4].bias)
    third.weight[:, [3, 4]] = 0.0  # nobody reads these two
    second.weight[:, 5] = 0.0  # so nobody reads this one of the first layer
    small: Any = compacted(encoder)
    assert small[3].weight.shape[:2] == (3, 5)
    assert small[0].weight.shape[:2] == (5, 3)
    assert small[6].weight.shape[:2] == (5, 3)  # no padding: the constants are a bias
    assert [type(small[place]) for place in (0, 3, 6)] == [nn.Conv2d] * 3
    assert_same(small(images(0, 9)), encoder(images(0, 9)))
    assert first.weight.shape[:2] == (6, 3)


@SETTINGS
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 4), st.integers(1, 3), SEEDS)
@torch.no_grad()
def test_constants_end_at_the_borders_of_images_of_any_size(
    high: int, wide: int, kernel: int, padding: int, stride: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    high, wide = (max(side, kernel - 2 * padding) for side in (high, wide))
    encoder: Any = nn.Sequential(
        *(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 5, kernel, stride=stride, padding=padding), nn.BatchNorm2d(5), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Identity()),
    ).eval()
    for parameter in encoder.parameters():
        parameter.normal_(generator=generator)
    encoder[0].weight[1:3] = 0.0
    encoder[1].bias[1:3] = torch.tensor([0.5, 2.0])
    small: Any = compacted(encoder)
    assert small[3].in_channels == 2
    assert isinstance(small[3], BorderedConv2d) is (padding > 0)
    assert_same(small(torch.ones(1, 3, 9, 9)), encoder(torch.ones(1, 3, 9, 9)))
    seen = torch.randn(2, 3, high, wide, generator=generator)
    assert_same(small(seen), encoder(seen))  # of another size than the ones before
    small[3].load_state_dict({name: 2 * tensor for name, tensor in small[3].state_dict().items()})
    again: Any = compacted(encoder)
    assert_same(small[3](small[:3](seen)), 2 * again[3](small[:3](seen)))  # the map follows what is loaded


@settings(max_examples=3)
@given(SPECS, PARTS, st.sampled_from([0.3, 1.0]), SEEDS)
@torch.no_grad()
def test_folded_normalisation_is_computed_by_the_convolutions_and_no_channel_is_gone(
    spec: EncoderSpec, part: str, density: float, seed: int
) -> None:
    encoder, seen = built(spec, part, density, seed), images(seed)
    plain = folded(encoder)
    assert_same(plain(seen), encoder(seen))
    assert cost(plain) == cost(encoder)
    assert not any(
        isinstance(module, nn.BatchNorm2d) for each in (plain, compacted(encoder)) for module in each.modules()
    )


@SETTINGS
@given(PARTS, DENSITIES, SEEDS)
@torch.no_grad()
def test_grouped_convolutions_keep_their_channels(part: str, density: float, seed: int) -> None:
    encoder: Any = pruned(tiny_encoder(seed), part, density, seed)
    small: Any = compacted(encoder)
    assert small[6].weight.shape == encoder[6].weight.shape
    assert_same(small(images(seed, 8)), encoder(images(seed, 8)))


@torch.no_grad()
def test_filters_are_gone_through_shortcuts() -> None:
    encoder = built(EncoderSpec(name="resnet-18", width=0.25), "filter", 0.5, 0)
    kept = sum(int((weight != 0).sum()) for weight in encoder.parameters() if weight.ndim == 4)
    small = compacted(encoder)
    weights = [module.weight for module in small.modules() if isinstance(module, nn.Conv2d)]
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    assert trained < 0.9 * kept  # fewer than masks keep: inputs that are gone take their weights along
    assert any(not weight.requires_grad for weight in weights)  # a branch with fewer channels than its sum
    assert cost(small) < 0.45 * cost(encoder)
