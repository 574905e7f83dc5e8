"""Laws of skipping (I68 to I70): what is computed at open pixels alone equals the masked dense computation."""

import contextlib
import copy
from collections import deque
from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from methods import GATES, GateSetting, masking
from methods.branches import Branches
from methods.gating import compiled
from methods.gating.convolution import GatedConv2d, Partition
from methods.gating.gate import ALL_ON, Gate
from methods.gating.mask_unit import MaskUnit
from methods.gating.masked import MaskedConv2d
from methods.gating.open_conv import OpenConv
from methods.gating.pixels import CHUNK, PixelConv
from methods.gating.skipping import Skipping, SkippingMasked, skipping
from tests.compiler import needs_a_compiler
from tests.strategies import convolutions, tiny_encoder

SETTINGS = settings(max_examples=40)
RATES = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.0, 1.0))
CONVS = convolutions(inputs=5, outputs=6)
PARTITIONS = st.sampled_from(get_args(Partition))
LAYOUTS = st.sampled_from([torch.contiguous_format, torch.channels_last])
SIZES = st.tuples(st.integers(1, 4), st.integers(5, 8), st.integers(5, 8))  # images, height, width


# A compiler is no dependency of the suite: without one, the same laws hold for "plain", and these are skipped by name.
BOTH = pytest.mark.parametrize("way", [pytest.param("compiled", marks=needs_a_compiler), "plain"])


@contextlib.contextmanager
def skipping_is(way: str) -> Iterator[None]:
    """Whether the kernel or PyTorch skips what is prepared meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        if way == "plain":
            patch.setattr(compiled, "missing", lambda: "a test says so")
        yield


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@SETTINGS
@given(CONVS, SIZES, RATES, LAYOUTS, st.integers(0, 10_000))
@torch.no_grad()
def test_open_pixels_get_the_convolution_and_others_stay(
    shape: dict[str, int],
    size: tuple[int, int, int],
    rate: float,
    layout: torch.memory_format,
    seed: int,
) -> None:
    images, high, wide = size
    conv = nn.Conv2d(**shape)  # type: ignore[arg-type]
    maps = torch.randn(images, conv.in_channels, high, wide, generator=generator(seed))
    maps = maps.contiguous(memory_format=layout)
    full = conv(maps)
    is_open = torch.rand(full[:, 0].shape, generator=generator(seed)) < rate
    before = torch.randn(images * full[0, 0].numel(), conv.out_channels, generator=generator(seed))
    found, at_pixels = before.clone(), PixelConv(conv)
    assert at_pixels.windows.size(maps) == full.shape[2:]
    at_pixels.write(found, at_pixels.windows.padded(maps), is_open)
    expected = torch.where(is_open.flatten()[:, None], full.permute(0, 2, 3, 1).flatten(0, 2), before)
    torch.testing.assert_close(found, expected)


@needs_a_compiler
@SETTINGS
@given(CONVS, SIZES, st.integers(1, 3), RATES, LAYOUTS, st.booleans(), st.integers(0, 10_000))
@torch.no_grad()
def test_the_kernel_gives_open_slices_of_pixels_the_convolution(
    shape: dict[str, int],
    size: tuple[int, int, int],
    slices: int,
    rate: float,
    layout: torch.memory_format,
    adds: bool,  # noqa: FBT001 (drawn)
    seed: int,
) -> None:
    images, high, wide = size
    conv = nn.Conv2d(**shape | {"out_channels": 7 * slices * shape["out_channels"]})  # type: ignore[arg-type]
    scale, shift = torch.randn(2, conv.out_channels, generator=generator(seed))
    maps = torch.randn(images, conv.in_channels, high, wide, generator=generator(seed)).contiguous(memory_format=layout)
    quick = OpenConv(conv, scale=scale, shift=shift, adds=adds)
    found = quick.output(maps).normal_(generator=generator(seed))
    before, full = found.clone(), conv(maps) * scale[:, None, None] + shift[:, None, None]
    if adds:
        full = before + full - quick.bias[:, None, None]
    is_open = torch.rand(images, slices, *full.shape[2:], generator=generator(seed)) < rate
    assert quick.write(found, maps, is_open) is found
    expected = torch.where(is_open.repeat_interleave(conv.out_channels // slices, 1), full, before)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@needs_a_compiler
def test_threads_share_the_pixels() -> None:
    conv, maps, threads = nn.Conv2d(3, 5, 3, padding=1), torch.randn(3, 3, 17, 19), torch.get_num_threads()
    quick, is_open = OpenConv(conv), torch.rand(3, 1, 17, 19) < 0.7
    once = quick.write(quick.output(maps, fill=0.0), maps, is_open)
    try:
        torch.set_num_threads(3)
        assert torch.equal(quick.write(quick.output(maps, fill=0.0), maps, is_open), once)
    finally:
        torch.set_num_threads(threads)
    assert len(once) * 17 * 19 > 768  # more than are computed at once
    torch.testing.assert_close(once, conv(maps) * is_open)


@needs_a_compiler
def test_the_kernel_refuses_what_it_would_misread() -> None:
    quick, maps = OpenConv(nn.Conv2d(3, 4, 3)), torch.randn(2, 3, 5, 5)
    output, on = quick.output(maps), torch.ones(2, 1, 3, 3, dtype=torch.bool)
    for wrong in ((output, on[:, :, 1:]), (output[:1], on), (output, on.float()), (output.contiguous(), on)):
        with pytest.raises(ValueError, match="do not fit"):
            quick.write(wrong[0], maps, wrong[1])
    with pytest.raises(ValueError, match=r"images are torch.float64 on cpu.*before `skipping` prepares it"):
        quick.write(output, maps.double(), on)
    with pytest.raises(ValueError, match="only single-precision CPU convolutions"):
        OpenConv(nn.Conv2d(4, 4, 3, groups=2))


def test_more_pixels_than_are_gathered_at_once_are_all_computed() -> None:
    conv, maps = nn.Conv2d(2, 3, 3, padding=1), torch.randn(2, 2, 24, 24)
    at_pixels, found = PixelConv(conv), torch.zeros(2 * 24 * 24, 3)
    assert len(found) > 2 * CHUNK
    with torch.no_grad():
        at_pixels.write(found, at_pixels.windows.padded(maps), torch.ones(2, 24, 24, dtype=torch.bool))
        torch.testing.assert_close(found.view(2, 24, 24, 3).permute(0, 3, 1, 2), conv(maps))


@BOTH
@SETTINGS
@given(st.integers(1, 2), PARTITIONS, st.integers(1, 2), RATES, st.integers(1, 4), st.integers(0, 10_000))
@torch.no_grad()
def test_a_layer_with_slices_skips_to_what_masking_gives(
    way: str, slice_channels: int, partition: Partition, stride: int, rate: float, images: int, seed: int
) -> None:
    conv = nn.Conv2d(8, 16, 3, stride=stride, padding=1, bias=seed % 2 == 0)
    layer = GatedConv2d(conv, Gate(16, slice_channels), groups=4, partition=partition).eval()
    maps = torch.randn(images, 8, 7, 6, generator=generator(seed))
    base = layer.base(maps)
    on = (torch.rand(images, 16 // slice_channels, *base.shape[2:], generator=generator(seed)) < rate).float()
    layer.decide = lambda _gate, _base: on
    with skipping_is(way):
        quick = Skipping(layer)
    torch.testing.assert_close(quick(maps), layer(maps))


@BOTH
@SETTINGS
@given(st.sampled_from([1, 4, 20]), st.sampled_from([1, 2]), PARTITIONS, st.floats(-1.0, 1.0), st.integers(0, 10_000))
@torch.no_grad()
def test_a_layer_that_skips_decides_as_its_gate_does(
    way: str, slice_channels: int, groups: int, partition: Partition, aim: float, seed: int
) -> None:
    conv = nn.Conv2d(8, 40, 3, padding=1)
    layer = GatedConv2d(conv, Gate(40, slice_channels), groups=groups, partition=partition).eval()
    statistics = layer.gate.normalisation
    assert statistics.running_mean is not None
    assert statistics.running_var is not None
    statistics.running_mean.normal_(generator=generator(seed))
    statistics.running_var.uniform_(0.1, 0.3, generator=generator(seed))
    layer.gate.deviation.normal_(generator=generator(seed))
    layer.gate.aim.fill_(aim)
    maps = torch.randn(2, 8, 9, 6, generator=generator(seed))
    with skipping_is(way):
        quick = Skipping(layer)
    torch.testing.assert_close(quick(maps), layer(maps), rtol=1e-5, atol=1e-5)


def block(stride: int, seed: int) -> tuple[list[MaskedConv2d], nn.Module]:
    """Two convolutions of a residual block with one mask, and what stands between them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        first, second = nn.Conv2d(4, 6, 3, stride=stride, padding=1, bias=False), nn.Conv2d(6, 5, 3, padding=1)
        between = nn.Sequential(normalisation(6), nn.ReLU())
        marks = deque[Tensor](maxlen=1)
        layers = [
            MaskedConv2d(first, None, MaskUnit(first), read=None, written=marks, wider=1),
            MaskedConv2d(second, normalisation(5), None, read=marks, written=None, wider=0),
        ]
    return [layer.eval() for layer in layers], between.eval()


def normalisation(channels: int) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(channels)
    assert made.running_mean is not None
    assert made.running_var is not None
    made.running_mean.normal_()
    made.running_var.uniform_(0.5, 2.0)
    nn.init.normal_(made.weight)
    nn.init.normal_(made.bias)
    return made


@BOTH
@SETTINGS
@given(st.integers(1, 2), RATES, st.integers(1, 4), st.integers(0, 10_000))
@torch.no_grad()
def test_a_block_with_a_mask_skips_to_what_masking_gives(
    way: str, stride: int, rate: float, images: int, seed: int
) -> None:
    layers, between = block(stride, seed)
    maps = torch.randn(images, 4, 7, 8, generator=generator(seed))
    unit = layers[0].unit
    assert unit is not None
    logits = unit.window(maps) + unit.image(maps.mean((2, 3)))[..., None, None]
    ends = torch.tensor([-torch.inf, *logits.flatten().sort().values.tolist(), torch.inf])
    place = round((1 - rate) * logits.numel())
    unit.aim.copy_(ends[place : place + 2].clamp(-1e3, 1e3).mean())  # between two logits: rounding opens no pixel
    marks = deque[Tensor](maxlen=1)
    with skipping_is(way):
        quick = [
            SkippingMasked(layers[0], read=None, written=marks, wider=1),
            SkippingMasked(layers[1], read=marks, written=None, wider=0),
        ]
    expected = layers[1](between(layers[0](maps)))
    assert rate not in {0.0, 1.0} or bool((expected == 0).all()) == (rate == 0.0)
    torch.testing.assert_close(quick[1](between(quick[0](maps))), expected)


def gated_encoder(method: str, reduction: float = 1.2) -> nn.Module:
    """An encoder with gates as it is exported."""
    plain = nn.Sequential(*list(tiny_encoder().children())[:3], nn.Conv2d(4, 8, 3, padding=1), nn.ReLU())
    masking.install(plain)
    made = GATES[method](GateSetting(reduction=reduction, seed=0))
    made.attach(Branches(online=plain, target=copy.deepcopy(plain), tied=False), total_steps=1)
    return made.export(plain).eval()


@BOTH
@pytest.mark.parametrize("method", ["dual_gate", "channel_gate", "spatial_gate"])
@torch.no_grad()
def test_a_skipping_encoder_is_a_copy_that_computes_the_same(method: str, way: str) -> None:
    encoder, maps = gated_encoder(method), torch.randn(3, 3, 8, 8)
    before = encoder(maps)
    aloud = pytest.warns(UserWarning, match="in plain PyTorch, which is slower: a test says so")
    with skipping_is(way), aloud if way == "plain" else contextlib.nullcontext():
        quick = skipping(encoder)
    assert any(isinstance(module, Skipping | SkippingMasked) for module in quick.modules())
    assert not any(isinstance(module, Skipping | SkippingMasked) for module in encoder.modules())
    torch.testing.assert_close(quick(maps), before)
    assert torch.equal(encoder(maps), before)


@needs_a_compiler
@pytest.mark.parametrize("method", ["dual_gate", "spatial_gate"])
def test_what_is_never_gated_stays_dense(method: str) -> None:
    maps, encoder = torch.randn(2, 3, 8, 8), gated_encoder(method, 1.0)
    with torch.no_grad():
        torch.testing.assert_close(skipping(encoder)(maps), encoder(maps))


def test_what_cannot_skip_is_refused() -> None:
    with pytest.raises(ValueError, match="has no gates"):
        skipping(tiny_encoder())
    with pytest.raises(ValueError, match=r"3: BoostedConv2d chooses channels image by image"):
        skipping(gated_encoder("feature_boosting"))
    layers, _ = block(1, 0)
    with pytest.raises(ValueError, match=r"call `.eval\(\)` first"):
        SkippingMasked(layers[0].train(), read=None, written=None, wider=1)
    with pytest.raises(ValueError, match="only convolutions with one group"):
        PixelConv(nn.Conv2d(4, 4, 3, groups=2))


@BOTH
def test_a_gate_that_is_always_open_gives_the_dense_layer(way: str) -> None:
    layer = GatedConv2d(nn.Conv2d(8, 8, 3, padding=1), Gate(8, 2), groups=2).eval()
    layer.gate.aim.fill_(ALL_ON)
    maps = torch.randn(2, 8, 5, 5)
    with torch.no_grad(), skipping_is(way):
        torch.testing.assert_close(Skipping(layer)(maps), layer.conv(maps))
