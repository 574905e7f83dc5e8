"""Laws of known gates (I82 to I86): a step that computes open pixels alone learns what the masked step learns."""

import copy
from collections.abc import Iterator
from typing import get_args
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from methods import GATES, GateSetting, masking
from methods.branches import Branches
from methods.gating import compiled
from methods.gating.convolution import Decide, GatedConv2d, Partition
from methods.gating.gate import Gate
from methods.gating.known import KnownGates, KnownPixels, KnownSlices, know
from methods.gating.layer import gated
from methods.gating.measure import decisions
from methods.gating.pixels import CHUNK
from methods.gating.windows import are_mostly
from tests.compiler import needs_a_compiler
from tests.strategies import convolutions, tiny_encoder

SETTINGS = settings(max_examples=30)
RATES = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.0, 1.0))
CONVS = convolutions(inputs=20, outputs=20)
SIZES = st.tuples(st.integers(1, 4), st.integers(5, 9), st.integers(5, 9))  # images, height, width

# A compiler is no dependency of the suite: without one, the same laws hold for "plain", and these are skipped by name.
BOTH = pytest.mark.parametrize("dtype", [pytest.param(torch.float32, marks=needs_a_compiler), torch.float64])
"""The compiled kernels compute in single precision, PyTorch in any."""


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradients(made: Tensor, images: Tensor, layer: nn.Module, seed: int) -> list[Tensor]:
    """Return the output, and the gradients of images and parameters under random errors."""
    errors = torch.randn(made.shape, generator=generator(seed), dtype=torch.float64).to(made.dtype)
    return [made.detach(), *torch.autograd.grad(made, [images, *layer.parameters()], errors)]


def assert_near(found: list[Tensor], expected: list[Tensor]) -> None:
    """Compare with what was computed in double precision, relative to the largest number."""
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        most = float(other.abs().max()) if other.numel() else 0.0
        tolerance = (1e-10 if one.dtype == torch.float64 else 1e-5) * max(1.0, most)
        assert float((one.double() - other).abs().max()) <= tolerance


@BOTH
@SETTINGS
@given(CONVS, SIZES, RATES, st.integers(0, 10_000))
def test_open_pixels_learn_what_masking_teaches(
    dtype: torch.dtype, shape: dict[str, int], size: tuple[int, int, int], rate: float, seed: int
) -> None:
    images, high, wide = size
    conv = nn.Conv2d(**shape).double()  # type: ignore[arg-type]
    maps = torch.randn(images, conv.in_channels, high, wide, generator=generator(seed)).double().requires_grad_()
    full = conv(maps)
    gates = torch.rand(full[:, :1].shape, generator=generator(seed)) < rate
    expected = gradients(full * gates, maps, conv, seed)
    layer = KnownPixels(copy.deepcopy(conv).to(dtype), nn.Identity())
    layer.gates, maps = gates, maps.detach().to(dtype).requires_grad_()
    assert_near(gradients(layer(maps), maps, layer, seed), expected)


@BOTH
@SETTINGS
@given(
    st.sampled_from([4, 8, 48, 64]),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([1, 2]),
    st.sampled_from(get_args(Partition)),
    RATES,
    st.integers(0, 10_000),
)
def test_open_slices_learn_what_masking_teaches(
    dtype: torch.dtype, channels: int, thinner: int, stride: int, partition: Partition, rate: float, seed: int
) -> None:
    slice_channels = max(1, channels // 4 // thinner)
    conv = nn.Conv2d(8, channels, 3, stride=stride, padding=1, bias=seed % 2 == 0).double()
    masked = GatedConv2d(conv, Gate(channels, slice_channels).double(), groups=4, partition=partition).eval()
    maps = torch.randn(2, 8, 7, 6, generator=generator(seed)).double().requires_grad_()
    gates = torch.rand(conv(maps)[:, ::slice_channels].shape, generator=generator(seed)) < rate
    masked.decide = telling(gates)
    expected = gradients(masked(maps), maps, conv, seed)
    layer = KnownSlices(copy.deepcopy(masked).to(dtype))
    layer.gates, maps = gates, maps.detach().to(dtype).requires_grad_()
    assert_near(gradients(layer(maps), maps, layer, seed), expected)


@SETTINGS
@given(RATES, st.booleans(), st.integers(0, 10_000))
def test_normalisation_sees_open_pixels_alone(  # in double precision: two pixels may nearly have no variance
    rate: float,
    trains: bool,  # noqa: FBT001 (drawn)
    seed: int,
) -> None:
    conv, norm = nn.Conv2d(3, 5, 3, padding=1).double(), nn.BatchNorm2d(5).double().train(trains)
    nn.init.normal_(norm.weight, generator=generator(seed))
    layer = KnownPixels(copy.deepcopy(conv), copy.deepcopy(norm))
    maps = torch.randn(2, 3, 6, 5, generator=generator(seed)).double().requires_grad_()
    gates = torch.rand(2, 1, 6, 5, generator=generator(seed)) < rate
    rows = conv(maps).permute(0, 2, 3, 1)[gates[:, 0]]
    if len(rows) < 2:
        norm.eval()
    made = torch.zeros(2, 6, 5, 5, dtype=torch.float64)
    made[gates[:, 0]] = norm(rows[:, :, None, None])[:, :, 0, 0]
    expected = gradients(made.permute(0, 3, 1, 2), maps, nn.ModuleList([conv, norm]), seed)
    layer.gates = gates
    assert_near(gradients(layer(maps), maps, layer, seed), expected)
    assert isinstance(layer.normalisation, nn.BatchNorm2d)
    for name in ("running_mean", "running_var"):
        assert_near([getattr(layer.normalisation, name)], [getattr(norm, name)])


def test_more_pixels_than_are_gathered_at_once_are_all_learnt_from() -> None:
    conv, maps = nn.Conv2d(2, 3, 3, padding=1).double(), torch.randn(2, 2, 36, 36).double().requires_grad_()
    layer = KnownPixels(conv, nn.Identity())
    layer.gates = torch.rand(2, 1, 36, 36, generator=generator(0)) < 0.5
    assert int(layer.gates.count_nonzero()) > 2 * CHUNK
    assert not are_mostly(layer.gates)  # else the dense convolution computes them
    assert_near(gradients(layer(maps), maps, conv, 0), gradients(conv(maps) * layer.gates, maps, conv, 0))


@pytest.fixture(name="threads")
def fixture_threads() -> Iterator[None]:
    """Three threads, as long as a test takes."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@needs_a_compiler
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("images", [1, 2, 5])
def test_threads_share_the_images(images: int) -> None:
    conv, maps = nn.Conv2d(4, 20, 3, padding=1), torch.randn(images, 4, 17, 19, requires_grad=True)
    layer = KnownPixels(conv, nn.Identity())
    layer.gates = torch.rand(images, 1, 17, 19, generator=generator(images)) < 0.4
    assert not are_mostly(layer.gates)  # else the dense convolution computes them
    exact, deep = copy.deepcopy(conv).double(), maps.detach().double().requires_grad_()
    expected = gradients(exact(deep) * layer.gates, deep, exact, 0)
    assert_near(gradients(layer(maps), maps, conv, 0), expected)


def gated_encoder(method: str) -> nn.Module:
    """An encoder with gates as it trains."""
    plain = nn.Sequential(
        *list(tiny_encoder().children())[:3], nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
    )
    masking.install(plain)
    made = GATES[method](GateSetting(reduction=1.2, seed=0))
    made.attach(Branches(online=plain, target=copy.deepcopy(plain), tied=False), total_steps=1)
    return plain.train()


@BOTH
@pytest.mark.parametrize("method", ["dual_gate", "channel_gate"])
def test_a_step_with_known_gates_is_the_masked_step(method: str, dtype: torch.dtype) -> None:
    encoder, maps = gated_encoder(method).double(), torch.randn(4, 3, 8, 8).double()
    gates = decisions(encoder, maps)
    assert encoder.training
    assert any(0 < each.float().mean() < 1 for each in gates.values())
    knowing = copy.deepcopy(encoder).to(dtype)
    know(knowing, gates)
    for path, layer in gated(encoder).items():
        assert isinstance(layer, GatedConv2d)
        layer.decide = telling(gates[path])
    expected = encoder(maps).square().sum()
    expected.backward()
    found = knowing(maps.to(dtype)).square().sum()
    found.backward()
    assert_near([found.detach()], [expected.detach()])
    names = [name for name, _ in knowing.named_parameters()]
    assert len(names) < len(list(encoder.parameters()))  # thresholds do not learn
    assert_near([learnt(knowing, names)], [learnt(encoder, names)])


def telling(gates: Tensor) -> Decide:
    """Return what decides for these gates, without a gradient."""
    return lambda _gate, _base: gates.double()


def learnt(encoder: nn.Module, names: list[str]) -> Tensor:
    """Return the gradients of parameters, flat: what is nearly 0 in theory is compared with the largest of all."""
    found = [encoder.get_parameter(name).grad for name in names]
    return torch.cat([each.flatten() for each in found if each is not None])


@pytest.mark.parametrize("method", ["dual_gate", "spatial_gate"])
def test_nothing_decides_in_a_step_with_known_gates(method: str) -> None:
    encoder, maps = gated_encoder(method), torch.randn(2, 3, 8, 8)
    gates = decisions(encoder, maps)
    know(encoder, gates)
    names = {name for name, _ in encoder.named_parameters()}
    assert not any("gate" in name or "unit" in name for name in names)
    first = encoder(maps)
    closed = {path: torch.zeros_like(each) for path, each in gates.items()}
    know(encoder, closed)  # once more, to layers that know gates
    assert [layer.gates for layer in encoder.modules() if isinstance(layer, KnownGates)] == list(closed.values())
    assert not torch.equal(encoder(maps), first)
    encoder(maps).sum().backward()


def test_gates_that_are_not_told_are_asked_for() -> None:
    encoder, maps = gated_encoder("dual_gate"), torch.randn(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"gates are told of other layers than have them: \['3'\]"):
        know(encoder, {})
    know(encoder, decisions(encoder, maps))
    with pytest.raises(ValueError, match=r"gates of 1 images are needed.*told were torch.bool \[2, "):
        encoder(maps[:1])
    boosted = gated_encoder("feature_boosting")
    with pytest.raises(ValueError, match="3: BoostedConv2d chooses channels image by image"):
        know(boosted, dict.fromkeys(gated(boosted), torch.ones(1, 1, dtype=torch.bool)))


def test_without_kernels_single_precision_learns_in_pytorch() -> None:
    conv, maps = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 6, 6, requires_grad=True)
    with patch.object(compiled, "missing", lambda: "a test says so"):
        layer = KnownPixels(conv, nn.Identity())
    layer.gates = torch.rand(2, 1, 4, 4) < 0.5
    exact, deep = copy.deepcopy(conv).double(), maps.detach().double().requires_grad_()
    expected = gradients(exact(deep) * layer.gates, deep, exact, 0)
    assert_near(gradients(layer(maps), maps, conv, 0), expected)
