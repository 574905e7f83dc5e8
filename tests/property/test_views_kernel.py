"""The compiled kernel makes PyTorch's views, bit by bit, or none."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.training.batches import reduced
from bench.views import blur, kernel, pillow, pixels, planned, recipes
from bench.views.batched import BatchedViews
from bench.views.parameters import HUE_SLOT, NO_JITTER
from methods.native import NoKernelError
from tests.compiler import needs_a_compiler

CPU = torch.device("cpu")
BRIGHTNESS, CONTRAST, SATURATION = range(3)


def noise(count: int, side: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def few_colours(count: int, side: int, seed: int = 0) -> Tensor:
    """Return images of greys, extremes and equal channels, where the hue, the mean and the blends have ties."""
    levels = torch.tensor([0, 1, 2, 85, 127, 128, 129, 170, 254, 255], dtype=torch.uint8)
    return levels[noise(count, side, seed).long() % len(levels)]


def plain(image: Tensor) -> Tensor:
    """Return an image of a pixel's colour alone."""
    return image[:, :1, :1].expand_as(image)


def assert_same(images: Tensor, table: Tensor, *, blurs_last: bool = False) -> None:
    found = kernel.made(images, table, blurs_last=blurs_last)
    expected = planned.made(images, table, images.shape[-1], blurs_last=blurs_last)
    assert found.shape == expected.shape
    assert found.stride() == expected.stride()
    for row, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert torch.equal(one, other), f"view {row // len(images)} of image {row % len(images)}"


@needs_a_compiler
@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_the_views_of_all_recipes_are_pytorchs(recipe: str) -> None:
    for side, count in ((32, 400), (1, 4), (2, 8), (4, 20), (8, 40), (16, 40), (64, 20), (128, 4)):
        views, expected = (
            BatchedViews(recipes.RECIPES[recipe], seed=1, images=count, side=side, compiled=compiled)
            for compiled in (True, False)
        )
        assert views.maker(CPU) == "the compiled kernel"
        images = torch.cat([noise(count // 2, side), few_colours(count // 2, side)])
        for epoch in range(3):
            samples = torch.randperm(count, generator=torch.Generator().manual_seed(epoch))
            pairs = zip(
                views.views(images[samples], samples, epoch),
                expected.views(images[samples], samples, epoch),
                strict=True,
            )
            for found, made in pairs:
                assert torch.equal(found, made), f"{side} pixels, epoch {epoch}"


factors = st.one_of(st.sampled_from([0.0, 1.0, 2.0, 0.5, 1e-30, 1e6]), st.floats(0, 2, width=32))


@st.composite
def rows(draw: st.DrawFn, side: int) -> Tensor:
    """Draw the parameters of a view: ``[22]``."""
    width, height = (draw(st.one_of(st.sampled_from([1, side]), st.integers(1, side))) for _ in range(2))
    kinds = draw(st.permutations([BRIGHTNESS, CONTRAST, SATURATION]))
    sigma = torch.tensor([draw(st.one_of(st.just(0.0), st.floats(0, 2, width=32)))])
    numbers = [
        draw(st.integers(0, side - width)),
        width,
        draw(st.integers(0, side - height)),
        height,
        draw(st.integers(0, 1)),
        draw(st.integers(0, NO_JITTER)),
        draw(st.one_of(st.sampled_from([0, 255]), st.integers(0, 255))),
        *(draw(factors) for _ in kinds),
        *(kind == CONTRAST for kind in kinds),
        *(kind == SATURATION for kind in kinds),
        *(draw(st.integers(0, 1)) for _ in ("grey", "solarised", "blurred")),
        *(float(weight) for weight in blur.box_weights(sigma)),
    ]
    return torch.tensor(numbers, dtype=torch.float32)


@needs_a_compiler
@given(data=st.data(), side=st.sampled_from([1, 2, 8, 16, 32, 32, 32, 64]), seed=st.integers(0, 100))
@settings(max_examples=100)
def test_what_no_recipe_asks_for_is_as_pytorch_makes_it(data: st.DataObject, side: int, seed: int) -> None:
    images = torch.stack([noise(1, side, seed)[0], few_colours(1, side, seed)[0], plain(noise(1, side, seed)[0])])
    table = torch.stack([data.draw(rows(side)) for _ in range(2 * len(images))]).view(len(images), 2, -1)
    assert_same(images, table, blurs_last=data.draw(st.booleans()))


@needs_a_compiler
@pytest.mark.parametrize("part", range(16))
def test_the_hue_of_all_colours_turns_as_pytorch_turns_it(part: int) -> None:
    side, count = 512, 4  # 2^18 colours an image
    first = torch.arange(2**20, dtype=torch.int32).view(count, side, side) + 2**20 * part
    colours = torch.stack([first >> 16, (first >> 8) & 255, first & 255], 1).to(torch.uint8)
    # Nothing but the hue: whole images, and factors of 1.
    plain_row = [0, side, 0, side, 0, 0, 0, *[1] * 3, *[0] * 6, 0, 0, 0, blur.WHOLE, 0, 0]
    table = torch.tensor(plain_row, dtype=torch.float32).expand(count, 2, -1).clone()
    shifts = (torch.arange(2 * count, dtype=torch.float32) * 37 + part).remainder(256).view(count, 2)
    table[:, :, HUE_SLOT + 1] = shifts
    found = kernel.made(colours, table, blurs_last=False)
    for place in range(2):
        planes = colours.permute(1, 0, 2, 3).reshape(3, count, side * side).float()
        pillow.turn_hue(planes, shifts[:, place, None])
        assert torch.equal(found[place * count :][:count], pixels.normalised(planes))


def test_a_product_leaves_the_levels_that_a_division_does() -> None:
    saturation, value = np.meshgrid(*[np.arange(256, dtype=np.float32)] * 2)
    for weight in range(86):
        product = np.float32(weight) * (saturation * value)
        divided, multiplied = product / np.float32(21675), product * (np.float32(1) / np.float32(21675))
        half = np.float32(0.5)
        assert np.array_equal(np.floor(value - divided + half), np.floor(value - multiplied + half))


@needs_a_compiler
@pytest.mark.parametrize(("side", "small"), [(32, 16), (32, 8), (64, 16), (4, 2), (8, 2)])
def test_reduced_views_are_pytorchs(side: int, small: int) -> None:
    views = torch.randn(6, 3, side, side).contiguous(memory_format=torch.channels_last)[1:]
    assert kernel.reduces(views, small)
    found, expected = kernel.reduced(views, small), pixels.reduced(views, small)
    assert torch.equal(found, expected)
    assert found.stride() == expected.stride()
    assert torch.equal(reduced(views, small), expected)


@pytest.mark.parametrize(
    ("views", "small"),
    [
        (torch.randn(2, 3, 32, 32), 16),  # not channels-last
        (torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last), 1),
        (torch.randn(2, 1, 32, 32).contiguous(memory_format=torch.channels_last), 16),
        (torch.randn(2, 3, 32, 16).contiguous(memory_format=torch.channels_last), 8),
        (torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last), 12),
        (torch.randn(2, 3, 24, 24).contiguous(memory_format=torch.channels_last), 12),
        (torch.randn(2, 3, 32, 32, dtype=torch.float64).contiguous(memory_format=torch.channels_last), 16),
        (torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last).requires_grad_(), 16),
    ],
)
def test_other_views_are_reduced_by_pytorch(views: Tensor, small: int) -> None:
    assert not kernel.reduces(views, small)
    assert torch.equal(reduced(views, small), pixels.reduced(views, small))


@pytest.mark.parametrize(("side", "size"), [(37, 32), (32, 24), (24, 24), (1024, 1024)])
def test_other_sizes_are_made_by_pytorch(side: int, size: int) -> None:
    views = BatchedViews(recipes.RECIPES["simclr"], seed=0, images=2, side=side, size=size)
    assert views.maker(CPU).startswith("PyTorch (the kernel makes views of the images' own side, a power of two up to")
    assert views.views(noise(2, side), torch.arange(2), 0)[0].shape == (2, 3, size, size)


def test_other_devices_have_pytorch() -> None:
    views = BatchedViews(recipes.RECIPES["simclr"], seed=0, images=2, side=32)
    assert views.maker(torch.device("cuda")) == "PyTorch (the kernel is for CPUs, not cuda)"


@pytest.fixture(name="_unknown")
def fixture_unknown() -> Iterator[None]:
    """Nothing is known of the kernel yet, and what a test finds is forgotten after it."""
    kernel.missing.cache_clear()
    yield
    kernel.missing.cache_clear()


@pytest.mark.usefixtures("_unknown")
def test_without_a_compiler_pytorch_makes_them_and_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise NoKernelError("no C++ compiler")

    views = BatchedViews(recipes.RECIPES["simclr"], seed=0, images=4, side=32)
    expected = views.views(noise(4, 32), torch.arange(4), 0)
    kernel.missing.cache_clear()
    monkeypatch.setattr(kernel, "library", none)
    assert views.maker(CPU) == "PyTorch (no C++ compiler)"
    found = views.views(noise(4, 32), torch.arange(4), 0)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert not kernel.reduces(found[0], 16)


@needs_a_compiler
@pytest.mark.usefixtures("_unknown")
@pytest.mark.parametrize("name", ["made", "reduced"])
def test_a_kernel_of_other_bits_makes_no_view_and_its_compiler_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = getattr(kernel, name)

    def other(*given: object, **named: object) -> Tensor:
        tensor: Tensor = ours(*given, **named)
        tensor[-1, -1, -1, -1] = torch.nextafter(tensor[-1, -1, -1, -1], torch.tensor(9.0))
        return tensor

    monkeypatch.setattr(kernel, name, other)
    views = BatchedViews(recipes.RECIPES["simclr"], seed=0, images=4, side=32)
    with pytest.warns(UserWarning, match=r"slower: the kernel that .*\+\+ built makes other views than PyTorch\."):
        assert "other views" in views.maker(CPU)
    table = views.table(0)
    expected = planned.made(noise(4, 32), table, 32, blurs_last=False)
    found = torch.cat(views.views(noise(4, 32), torch.arange(4), 0))
    assert torch.equal(found, expected)
    assert not kernel.reduces(found, 16)
