"""Views depend on seed, epoch, sample and view only, and are what Pillow makes of the same parameters."""

import platform

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as F  # noqa: N812 - its usual name

from bench.config.views import ViewSpec
from bench.streams import stream_seed
from bench.views import blur, recipes, resample
from bench.views import pillow as views_pillow
from bench.views.batched import BatchedViews
from bench.views.lightly import LightlyViews
from bench.views.parameters import Parameters
from bench.views.pixels import MEAN, STD

IMAGES = 40
PICTURES = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
BATCHED = ("batched-v1", "in PyTorch")  # by the kernel, where there is a compiler; and without it
PIPELINES = (*BATCHED, "lightly")
SMALL = sorted(name for name in recipes.RECIPES if not name.endswith("-imagenet"))
LARGE = sorted(set(recipes.RECIPES) - set(SMALL))


def built(pipeline: str, recipe: str = "byol", seed: int = 0) -> recipes.Views:
    if pipeline == "in PyTorch":
        return BatchedViews(recipes.RECIPES[recipe], seed=seed, images=IMAGES, side=32, compiled=False)
    known = {name: ViewSpec(pipeline=name, recipe=recipe) for name in ("batched-v1", "lightly")}
    return recipes.build(known[pipeline], seed=seed, images=IMAGES, side=32)


def whole(pipeline: str, recipe: str = "byol", seed: int = 0, epoch: int = 0) -> tuple[Tensor, Tensor]:
    return built(pipeline, recipe, seed).views(PICTURES, torch.arange(IMAGES), epoch)


@pytest.mark.parametrize("pipeline", PIPELINES)
@given(samples=st.lists(st.integers(0, IMAGES - 1), min_size=1, max_size=12), epoch=st.integers(0, 1))
@settings(max_examples=15)
def test_no_batch_changes_a_view(pipeline: str, samples: list[int], epoch: int) -> None:
    chosen = torch.tensor(samples)
    views = built(pipeline).views(PICTURES[chosen], chosen, epoch)
    for view, reference in zip(views, whole(pipeline, epoch=epoch), strict=True):
        assert torch.equal(view, reference[chosen])


@pytest.mark.parametrize("pipeline", BATCHED)
@given(size=st.sampled_from([1, 2, 7, 63, 64, 65, 128, 200]))
@settings(max_examples=8)
def test_no_size_of_batch_changes_a_view(pipeline: str, size: int) -> None:
    samples = torch.arange(200) % IMAGES
    views = built(pipeline)
    reference = views.views(PICTURES[samples], samples, 3)
    batches = [views.views(PICTURES[part], part, 3) for part in samples.split(size)]
    for place in range(2):
        assert torch.equal(torch.cat([batch[place] for batch in batches]), reference[place])


@pytest.mark.parametrize("pipeline", BATCHED)
def test_no_number_of_threads_changes_a_view(pipeline: str) -> None:
    alone = whole(pipeline, "simclr")
    torch.set_num_threads(2)
    try:
        shared = whole(pipeline, "simclr")
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(one, two) for one, two in zip(alone, shared, strict=True))


@pytest.mark.parametrize("pipeline", BATCHED)
def test_no_memory_format_changes_a_view(pipeline: str) -> None:
    shuffled = PICTURES.contiguous(memory_format=torch.channels_last)
    views = built(pipeline).views(shuffled, torch.arange(IMAGES), 0)
    assert all(torch.equal(one, two) for one, two in zip(views, whole(pipeline), strict=True))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_epoch_seed_sample_and_view_each_change_what_is_done(pipeline: str) -> None:
    same = PICTURES[:1].expand(IMAGES, -1, -1, -1)
    reference = built(pipeline, "simclr").views(same, torch.arange(IMAGES), 0)
    others = [
        built(pipeline, "simclr").views(same, torch.arange(IMAGES), 1)[0],
        built(pipeline, "simclr", seed=1).views(same, torch.arange(IMAGES), 0)[0],
        reference[1],
        reference[0].roll(1, 0),
    ]
    for other in others:
        assert (other - reference[0]).abs().mean((1, 2, 3)).min() > 0.01


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_views_leave_the_global_random_state_alone(pipeline: str) -> None:
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002 - the state that Lightly draws from
    expected = torch.rand(3), np.random.random_sample(3)  # noqa: NPY002
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    whole(pipeline)
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.random_sample(3), expected[1])  # noqa: NPY002


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_global_random_state_does_not_matter(pipeline: str) -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    one = whole(pipeline)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert all(torch.equal(a, b) for a, b in zip(one, whole(pipeline), strict=True))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_going_back_an_epoch_gives_the_same_views(pipeline: str) -> None:
    views, samples = built(pipeline), torch.arange(5)
    first = views.views(PICTURES[:5], samples, 0)
    second = views.views(PICTURES[:5], samples, 1)
    assert not torch.equal(first[0], second[0])
    again = views.views(PICTURES[:5], samples, 0)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))


def pillow_view(
    picture: Image.Image, which: Parameters, row: int, *, size: int = 32, sigma: float = 0.0, blurs_last: bool = False
) -> Tensor:
    """Make one view with torchvision's and Pillow's own operations, one after another."""

    def number(column: Tensor) -> float:
        return float(column[row])

    box = [int(number(column)) for column in (which.top, which.left, which.height, which.width)]
    picture = F.resized_crop(picture, *box, [size, size])
    if number(which.mirrored):
        picture = F.hflip(picture)
    steps = [
        (
            F.adjust_contrast
            if number(contrast)
            else F.adjust_saturation
            if number(saturation)
            else F.adjust_brightness,
            number(factor),
        )
        for factor, contrast, saturation in which.jitters
    ]
    slot, shift = int(number(which.hue_slot)), int(number(which.hue_shift))
    shift -= 256 * (shift > 127)
    if slot < 4:
        steps.insert(slot, (F.adjust_hue, (abs(shift) + 0.5) / 255 * (1 if shift >= 0 else -1)))
    if slot < 5:
        for operation, factor in steps:
            picture = operation(picture, factor)
    if number(which.grey):
        picture = F.rgb_to_grayscale(picture, 3)
    if number(which.blurred) and not blurs_last:
        picture = picture.filter(ImageFilter.GaussianBlur(sigma))
    if number(which.solarised):
        picture = ImageOps.solarize(picture, 128)
    if number(which.blurred) and blurs_last:
        picture = picture.filter(ImageFilter.GaussianBlur(sigma))
    bytes_ = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    normal: Tensor = F.normalize(F.to_dtype(bytes_, torch.float32, scale=True), list(MEAN), list(STD))
    return normal


def smooth(seed: int) -> Tensor:
    """Return pictures with runs of equal colours, greys and extremes, on which rounding has ties."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 9, (IMAGES, 3, 8, 8), generator=generator).mul(32).clamp(max=255)
    coarse[::4] = coarse[::4, :1]
    return coarse.to(torch.uint8).repeat_interleave(4, 2).repeat_interleave(4, 3)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="Pillow's own rounding differs where a compiler fuses")
@given(recipe=st.sampled_from(SMALL), seed=st.integers(0, 1000), kind=st.sampled_from([0, 1]))
@settings(max_examples=20)
def test_a_view_is_what_pillow_makes_of_the_same_parameters(recipe: str, seed: int, kind: int) -> None:
    pictures = smooth(seed) if kind else PICTURES
    maker = BatchedViews(recipes.RECIPES[recipe], seed=seed, images=IMAGES, side=32)
    views = maker.views(pictures, torch.arange(IMAGES), 0)
    pillow = [Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()) for picture in pictures]
    for view, table in zip(views, maker.table(0).unbind(1), strict=True):
        which = Parameters.of(table)
        for row in range(IMAGES):
            assert torch.equal(view[row], pillow_view(pillow[row], which, row)), f"row {row} of {which}"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="Pillow's own rounding differs where a compiler fuses")
@given(recipe=st.sampled_from(LARGE), seed=st.integers(0, 1000), sizes=st.sampled_from([(37, 32), (24, 40), (40, 12)]))
@settings(max_examples=8)
def test_a_blurred_view_of_any_size_is_what_pillow_makes_of_it(recipe: str, seed: int, sizes: tuple[int, int]) -> None:
    side, size = sizes
    count, pair = 8, recipes.RECIPES[recipe]
    pictures = smooth(seed)[:count].repeat(1, 1, 2, 2)[..., :side, :side]
    maker = BatchedViews(pair, seed=seed, images=count, side=side, size=size)
    views = maker.views(pictures, torch.arange(count), 0)
    sigmas = torch.zeros(count, 2)
    if pair[0].blur:
        generator = torch.Generator().manual_seed(stream_seed("views-blur", seed, 0))
        least, greatest = pair[0].sigmas
        sigmas = least + (greatest - least) * torch.rand(count, 2, 2, generator=generator)[..., 1]
    for place, view in enumerate(views):
        which = Parameters.of(maker.table(0)[:, place])
        for row in range(count):
            picture = Image.fromarray(pictures[row].permute(1, 2, 0).contiguous().numpy())
            sigma, last = float(sigmas[row, place]), pair[0].blurs_last
            expected = pillow_view(picture, which, row, size=size, sigma=sigma, blurs_last=last)
            assert torch.equal(view[row], expected), f"row {row}"


@given(
    sizes=st.sampled_from([(32, 32), (37, 32), (9, 16), (40, 12), (64, 64)]),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=15)
def test_crops_of_any_size_become_squares_as_pillow_makes_them(sizes: tuple[int, int], seed: int) -> None:
    (side, size), count = sizes, 12
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    lengths = torch.randint(1, side + 1, (2, count), generator=generator)
    starts = (torch.rand(2, count, generator=generator) * (side - lengths + 1)).long()
    mirrored = torch.randint(0, 2, (count,), generator=generator).float()
    box = (starts[0].float(), lengths[0].float(), starts[1].float(), lengths[1].float())
    tall = resample.is_tall(lengths[0], lengths[1], size).nonzero()[:, 0]
    planes = resample.gathered(images, box, mirrored, size, tall)
    for row in range(count):
        left, top, width, height = (int(each) for each in (*starts[:, row], *lengths[:, row]))
        whole = Image.fromarray(images[row].permute(1, 2, 0).contiguous().numpy())
        crop = whole.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BILINEAR)
        expected = np.asarray(ImageOps.mirror(crop) if mirrored[row] else crop)
        assert np.array_equal(planes[:, row].view(3, size, size).permute(1, 2, 0).numpy(), expected), f"row {row}"
    if resample.is_exact_in_floats(side, size):
        across, down = (
            resample.tent(begin, length, flip, side)
            for begin, length, flip in ((*box[:2], mirrored), (*box[2:], torch.zeros(count)))
        )
        assert torch.equal(resample.multiplied(images, across, down), planes)


@given(sigma=st.floats(0.125, 2.0, width=32), seed=st.integers(0, 100))
def test_blur_is_pillows(sigma: float, seed: int) -> None:
    image = torch.randint(0, 256, (3, 1, 11, 11), generator=torch.Generator().manual_seed(seed)).float()
    found = blur.blurred(image.view(3, 1, 121), blur.box_weights(torch.tensor([sigma])), 11)
    picture = Image.fromarray(image[:, 0].permute(1, 2, 0).byte().contiguous().numpy())
    expected = np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma)))
    assert np.array_equal(found.view(3, 11, 11).permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_number_of_workers_changes_a_view(workers: int) -> None:
    views = built("lightly")
    assert isinstance(views, LightlyViews)
    batches = [(epoch, torch.arange(epoch, IMAGES, 9)) for epoch in range(3)]
    made = list(views.ahead(PICTURES, batches, workers))
    assert len(made) == len(batches)
    for pair, (epoch, samples) in zip(made, batches, strict=True):
        for one, two in zip(pair, views.views(PICTURES[samples], samples, epoch), strict=True):
            assert torch.equal(one, two)


@given(shift=st.integers(0, 255), level=st.integers(0, 255), channel=st.integers(0, 2))
def test_hue_turns_as_pillow_turns_it(shift: int, level: int, channel: int) -> None:
    levels = np.arange(256, dtype=np.uint8)
    two = np.stack(np.meshgrid(levels, levels, indexing="ij"), -1)
    colours = np.insert(two, channel, level, axis=-1)  # 65,536 colours
    bands = Image.fromarray(colours).convert("HSV").split()
    turned = Image.fromarray(np.asarray(bands[0]) + np.uint8(shift))
    expected = np.asarray(Image.merge("HSV", (turned, *bands[1:])).convert("RGB"))
    planes = torch.from_numpy(colours).float().view(64, 1024, 3).permute(2, 0, 1).contiguous()
    views_pillow.turn_hue(planes, torch.full((64, 1), float(shift)))
    assert np.array_equal(planes.permute(1, 2, 0).reshape(256, 256, 3).numpy(), expected)


@given(start=st.integers(0, 31), length=st.integers(1, 32), mirrored=st.booleans())
def test_resampling_weights_sum_to_one_and_are_exact(start: int, length: int, mirrored: bool) -> None:  # noqa: FBT001
    start = min(start, 32 - length)
    begin, pixels, is_mirrored = (torch.tensor([float(value)]) for value in (start, length, mirrored))
    weights = resample.tent(begin, pixels, is_mirrored, 32)[0]
    assert torch.equal(weights.sum(1), torch.ones(32))
    assert torch.equal(weights * 64, (weights * 64).round())
    assert weights[:, :start].sum() == weights[:, start + length :].sum() == 0
    assert (weights > 0).sum(1).max() <= 2
