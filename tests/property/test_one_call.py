"""Laws of the call that computes a whole encoder (I80, I81): it computes what PyTorch does, layer by layer."""

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.config.run import EncoderSpec
from bench.training import encoders
from methods import native
from methods.compaction import compacted, folded, fused, one_call
from methods.compaction.kernel import CHUNKS, Panels
from methods.compaction.lowering import lowered
from methods.compaction.one_call import Fused
from tests.compiler import needs_a_compiler
from tests.property.test_compaction import (
    DENSITIES,
    PARTS,
    SEEDS,
    SETTINGS,
    SPECS,
    assert_same,
    assert_same_classes,
    built,
    chain,
    pruned,
)
from tests.strategies import tiny_encoder

LAYOUTS = st.sampled_from([torch.channels_last, torch.contiguous_format])


def seen(seed: int, count: int, high: int = 16, wide: int = 16) -> Tensor:
    return torch.randn(count, 3, high, wide, generator=torch.Generator().manual_seed(seed))


@needs_a_compiler
@SETTINGS
@given(SPECS, PARTS, DENSITIES, SEEDS, st.integers(1, 5), st.sampled_from([(16, 16), (9, 24)]), LAYOUTS)
@torch.no_grad()
def test_one_call_computes_what_the_layers_do_compacted_or_not(
    spec: EncoderSpec,
    part: str,
    density: float,
    seed: int,
    count: int,
    size: tuple[int, int],
    layout: torch.memory_format,
) -> None:
    encoder, images = built(spec, part, density, seed), seen(seed, count, *size)
    expected = encoder(images)
    for whole in (compacted(encoder), encoder):
        quick = fused(whole)
        assert isinstance(quick, Fused)
        assert_same(quick(images.contiguous(memory_format=layout)), expected)
        assert_same(quick(images.flip(0)), expected.flip(0))  # nothing is left of the call before


@needs_a_compiler
@SETTINGS
@given(st.sampled_from(["bias", "no bias"]), st.sampled_from([0, 4]), PARTS, DENSITIES, SEEDS)
@torch.no_grad()
def test_no_class_changes_whatever_the_biases_the_padding_and_the_stride(
    biases: str, classes: int, part: str, density: float, seed: int
) -> None:
    encoder = pruned(chain(bias=biases == "bias", classes=classes), part, density, seed)
    images = seen(seed, 3, 9, 9)
    expected, found = encoder(images), fused(compacted(encoder))(images)
    assert_same(found, expected)
    assert_same_classes(found, expected)


def thin(seed: int, channels: tuple[int, int, int], kernel: int, dilation: int) -> nn.Module:
    """Two convolutions and a shortcut around them, of any number of channels."""
    torch.manual_seed(seed)
    first, second, third = channels

    class Thin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, first, kernel, padding=1)
            self.inner = nn.Conv2d(first, second, kernel, padding=dilation * (kernel // 2), dilation=dilation)
            self.outer = nn.Conv2d(second, first, kernel, padding=kernel // 2)
            self.last = nn.Conv2d(first, third, kernel, stride=2)
            self.pool = nn.AdaptiveAvgPool2d(1)

        def forward(self, images: Tensor) -> Tensor:
            stem = torch.relu(self.stem(images))
            whole = torch.relu(self.outer(torch.relu(self.inner(stem))) + stem)
            return torch.flatten(self.pool(torch.relu(self.last(whole))), 1)

    return Thin().eval()


@needs_a_compiler
@SETTINGS
@given(SEEDS, st.tuples(*3 * [st.integers(1, 36)]), st.sampled_from([1, 3]), st.sampled_from([1, 2]), LAYOUTS)
@torch.no_grad()
def test_any_number_of_channels_is_computed_however_lanes_are_shared(
    seed: int, channels: tuple[int, int, int], kernel: int, dilation: int, layout: torch.memory_format
) -> None:
    encoder, images = thin(seed, channels, kernel, dilation), seen(seed, 3, 9, 13).contiguous(memory_format=layout)
    assert_same(fused(encoder)(images), encoder(images))


def test_outputs_have_as_many_lanes_as_fill_vectors() -> None:
    def groups(lanes: int) -> list[int]:
        return [Panels.of(torch.ones(outputs, 32, 3, 3), lanes).group for outputs in (1, 4, 8, 16, 32)]

    assert groups(16) == [16, 4, 2, 1, 1]
    assert groups(8) == [8, 2, 1, 1, 1]


@needs_a_compiler
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
@torch.no_grad()
def test_channels_are_put_in_their_places_in_whatever_order(order: list[int]) -> None:
    spread = nn.Conv2d(3, 7, 1)
    spread.weight.zero_()[[[1, 4, 6][place] for place in order], range(3)] = 1
    assert spread.bias is not None
    spread.bias[[1, 4, 6]] = 0
    encoder = nn.Sequential(nn.Conv2d(3, 3, 3), spread, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    assert (lowered(encoder)[0].places is None) == (order != sorted(order))
    assert_same(fused(encoder)(seen(0, 2)), encoder(seen(0, 2)))


@needs_a_compiler
@torch.no_grad()
def test_images_are_shared_among_threads_and_any_number_goes_through() -> None:
    quick = fused(compacted(built(EncoderSpec(name="resnet-9", width=0.1), "filter", 0.5, 0)))
    images, threads = seen(0, 2 * CHUNKS[1] + 3), torch.get_num_threads()  # more than go through together
    expected = quick(images)
    try:
        for count in (2, 3, 16):
            torch.set_num_threads(count)
            assert torch.equal(quick(images), expected)
    finally:
        torch.set_num_threads(threads)
    assert quick(images[:0]).shape == (0, expected.shape[1])
    assert torch.equal(quick(images[::3, :, :, :]), expected[::3])
    assert quick(images[:, :, :8].double().float()).shape == expected.shape  # another size


@needs_a_compiler
@torch.no_grad()
def test_it_follows_what_is_loaded_moved_copied_and_exported() -> None:
    encoder = compacted(pruned(chain(bias=True), "filter", 0.5, 1))
    images, quick = seen(1, 2, 9, 9), Fused(encoder)
    expected = quick(images)
    for again in (copy.deepcopy(quick), pickle.loads(pickle.dumps(quick))):
        assert torch.equal(again(images), expected)
    program: Any = torch.export.export(quick, (images,)).module()
    assert_same(program(images), expected)
    quick.load_state_dict({name: 0.5 * tensor for name, tensor in quick.state_dict().items()})
    assert_same(quick(images), quick.plain(images))
    assert not torch.equal(quick(images), expected)
    assert_same(quick.double()(images.double()).float(), quick.float()(images))


@needs_a_compiler
def test_what_it_cannot_compute_is_refused() -> None:
    grouped: nn.Module = tiny_encoder(0)
    with pytest.raises(ValueError, match="convolutions of one group with zero padding"):
        fused(grouped)
    with pytest.raises(ValueError, match="maps of several pixels"):
        fused(nn.Sequential(nn.Conv2d(3, 4, 3)))
    with pytest.raises(ValueError, match="does not mix pixels and channels"):
        fused(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()))
    with pytest.raises(ValueError, match="no normalisation"):
        fused(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    with pytest.raises(ValueError, match="2x2 pixels are smaller than a kernel"):
        fused(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))(torch.zeros(1, 3, 2, 2))


@torch.no_grad()
def test_without_a_compiler_pytorch_computes_and_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise native.NoKernelError("no C++ compiler")

    monkeypatch.setattr(one_call, "library", none)
    encoder, images = encoders.build(EncoderSpec(name="resnet-9", width=0.0625))[0].eval(), seen(0, 2)
    with pytest.warns(UserWarning, match=r"layer by layer, which is slower: no C\+\+ compiler\."):
        plain = fused(encoder)
    assert torch.equal(plain(images), folded(encoder)(images))
