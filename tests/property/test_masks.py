"""Laws of all masks (LAWS.md): I1 to I14, and of N:M masks: I19 to I24."""

import copy
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from methods import masking
from methods.allocation import global_
from methods.granularity.base import budget
from methods.granularity.element import Elementwise
from methods.granularity.n_of_m import NofM
from methods.granularity.select import parse, select
from tests.strategies import PRUNABLE, densities, masked_encoder, random_masks, scores


def highest(values: list[float], count: int) -> list[bool]:
    """The definition: sort by score, then by index."""
    order = sorted(range(len(values)), key=lambda index: (-values[index], index))[:count]
    return [index in order for index in range(len(values))]


@given(scores(), st.data())
def test_keep_is_the_sorted_definition(score: Tensor, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, score.numel()))
    kept = Elementwise().keep(score, count)
    assert kept.reshape(-1).tolist() == highest(score.reshape(-1).tolist(), count)


@given(scores(), densities(), st.sampled_from([Elementwise(), NofM(1, 2), NofM(2, 4), NofM(3, 5)]))
def test_masks_are_binary_contiguous_and_as_large_as_promised(
    score: Tensor, density: float, granularity: Elementwise | NofM
) -> None:
    try:
        count = granularity.attainable(score.shape, density)
    except ValueError:
        assert granularity != Elementwise()
        return
    kept = granularity.keep(score, count)
    assert kept.dtype == torch.bool
    assert kept.shape == score.shape
    assert kept.is_contiguous()
    assert int(kept.sum()) == count
    mask = select({"layer": score}, {"layer": count}, granularity)["layer"]
    assert mask.dtype == torch.float32
    assert mask.is_contiguous()
    assert torch.equal(mask == 1, kept)
    assert torch.equal(mask == 0, ~kept)


@given(scores(), st.data())
def test_ties_do_not_depend_on_dtype_or_memory_format(score: Tensor, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, score.numel()))
    kept = Elementwise().keep(score, count)
    for dtype in (torch.float64, torch.bfloat16):
        assert torch.equal(Elementwise().keep(score.to(dtype), count), kept)
    backwards = score.permute(*reversed(range(score.ndim))).contiguous()
    assert torch.equal(Elementwise().keep(backwards.permute(*reversed(range(score.ndim))), count), kept)
    if score.ndim == 4:
        channels_last = score.contiguous(memory_format=torch.channels_last)
        assert torch.equal(Elementwise().keep(channels_last, count), kept)


@given(st.integers(1, 4), st.integers(2, 40), st.data())
def test_equal_scores_keep_the_first(rows: int, columns: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, rows * columns))
    kept = Elementwise().keep(torch.zeros(rows, columns), count).reshape(-1)
    assert bool(kept[:count].all())
    assert not bool(kept[count:].any())


@given(scores(), st.data())
def test_raising_a_score_never_drops_its_weight(score: Tensor, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, score.numel()))
    index = data.draw(st.integers(0, score.numel() - 1))
    raised = score.clone()
    raised.view(-1)[index] += data.draw(st.integers(1, 50))
    before, after = (Elementwise().keep(entry, count).view(-1)[index] for entry in (score, raised))
    assert bool(after) or not bool(before)


@given(scores(distinct=True), st.data())
def test_distinct_scores_do_not_care_about_order(score: Tensor, data: st.DataObject) -> None:
    flat = score.reshape(-1)
    count = data.draw(st.integers(0, flat.numel()))
    order = torch.tensor(data.draw(st.permutations(range(flat.numel()))))
    assert torch.equal(Elementwise().keep(flat[order], count), Elementwise().keep(flat, count)[order])


@given(scores(), st.data())
def test_scale_does_not_matter(score: Tensor, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, score.numel()))
    scale = 2.0 ** data.draw(st.integers(-20, 20))
    assert torch.equal(Elementwise().keep(scale * score, count), Elementwise().keep(score, count))


@given(scores(), densities(), densities())
def test_a_denser_mask_contains_a_sparser_one(score: Tensor, first: float, second: float) -> None:
    sparse, dense = (
        Elementwise().keep(score, Elementwise().attainable(score.shape, density)) for density in sorted((first, second))
    )
    assert not bool((sparse & ~dense).any())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("granularity", [Elementwise(), NofM(2, 4)])
def test_non_finite_scores_raise(value: float, granularity: Elementwise | NofM) -> None:
    score = torch.ones(4, 4)
    score[2, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        granularity.keep(score, 8)
    with pytest.raises(ValueError, match="layer9: a score is not finite"):
        select({"layer9": score}, {"layer9": 8}, granularity)
    with pytest.raises(ValueError, match="not finite"):
        global_({"layer9": score}, 0.5)


@pytest.mark.parametrize("density", [0.0, -0.1, 1.0000001, 2.0, float("nan")])
def test_densities_outside_the_unit_interval_raise(density: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        budget(100, density)


@given(scores())
def test_density_one_keeps_all(score: Tensor) -> None:
    assert bool(Elementwise().keep(score, Elementwise().attainable(score.shape, 1.0)).all())


@given(scores())
def test_counts_out_of_reach_raise(score: Tensor) -> None:
    for count in (-1, score.numel() + 1):
        with pytest.raises(ValueError, match=f"cannot keep {count} of {score.numel()}"):
            Elementwise().keep(score, count)


def test_only_convolutions_behind_the_stem_have_masks() -> None:
    encoder = masked_encoder()
    masks = masking.read(encoder)
    assert tuple(masks) == PRUNABLE
    for name, mask in masks.items():
        assert mask.shape == masking.latent(encoder)[name].shape
        assert mask.dtype == torch.float32
    buffers = [name for name, _ in encoder.named_buffers() if name.endswith(".mask")]
    assert buffers == [f"{name}.parametrizations.weight.0.mask" for name in PRUNABLE]


@given(densities(), st.integers(0, 99))
def test_writing_what_was_read_changes_nothing(density: float, seed: int) -> None:
    encoder = masked_encoder()
    masks = random_masks(encoder, density, torch.Generator().manual_seed(seed))
    masking.write(encoder, masks)
    before = copy.deepcopy(encoder.state_dict())
    masking.write(encoder, masking.read(encoder))
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(torch.equal(mask, masks[name]) for name, mask in masking.read(encoder).items())


def test_masks_are_nobodys_alias() -> None:
    encoder = masked_encoder()
    target, twin = copy.deepcopy(encoder), masking.twin(encoder, own_statistics=False)
    masks = masking.read(encoder)
    masking.write(encoder, masks)
    for mask in masks.values():
        mask.zero_()
    for handed_out in masking.read(encoder).values():
        handed_out.zero_()
    zeros = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    masking.write(twin, zeros)
    for module, ones in ((encoder, True), (target, True), (twin, False)):
        assert all(bool(mask.all()) == ones for mask in masking.read(module).values())


@given(st.permutations(["a", "b", "c", "d"]), st.floats(0.2, 1.0))
def test_layer_order_does_not_matter_without_ties(order: list[str], density: float) -> None:
    generator = torch.Generator().manual_seed(3)
    layers = {name: torch.rand(7, 5, generator=generator) for name in "abcd"}
    reordered = {name: layers[name] for name in order}
    assert global_(reordered, density) == global_(layers, density)


# Laws of N:M masks


@st.composite
def grouped_scores(draw: st.DrawFn) -> tuple[Tensor, NofM]:
    m = draw(st.integers(2, 5))
    n = draw(st.integers(1, m - 1))
    outputs, groups, height, width = (draw(st.integers(1, 3)) for _ in range(4))
    shape = torch.Size([outputs, groups * m, height, width])
    values = draw(st.lists(st.integers(0, 4), min_size=shape.numel(), max_size=shape.numel()))
    return torch.tensor(values, dtype=torch.float32).reshape(shape), NofM(n, m)


@given(grouped_scores(), st.floats(0.0, 1.0))
def test_n_of_m_agrees_with_brute_force(case: tuple[Tensor, NofM], share: float) -> None:
    score, granularity = case
    n, m = granularity.n, granularity.m
    count = granularity.attainable(score.shape, n / m + share * (1 - n / m))
    kept = granularity.keep(score, count)
    outputs, channels, height, width = score.shape
    positions = list(itertools.product(range(outputs), range(height), range(width), range(channels // m)))
    groups = [score[o, g * m : (g + 1) * m, y, x].tolist() for o, y, x, g in positions]
    dense = highest([sum(group) for group in groups], (count - n * len(groups)) // (m - n))
    for (o, y, x, g), group, whole in zip(positions, groups, dense, strict=True):
        expected = [True] * m if whole else highest(group, n)
        assert kept[o, g * m : (g + 1) * m, y, x].tolist() == expected
    assert kept.is_contiguous()
    channels_last = score.contiguous(memory_format=torch.channels_last)
    assert torch.equal(granularity.keep(channels_last, count), kept)


@given(grouped_scores())
def test_strict_n_of_m_leaves_n_in_every_group(case: tuple[Tensor, NofM]) -> None:
    score, granularity = case
    kept = granularity.keep(score, granularity.attainable(score.shape, granularity.n / granularity.m))
    groups = kept.permute(0, 2, 3, 1).reshape(-1, granularity.m)
    assert bool((groups.sum(dim=1) == granularity.n).all())


@given(st.lists(grouped_scores(), min_size=1, max_size=3))
def test_layers_ranked_together_get_the_masks_of_layers_ranked_alone(cases: list[tuple[Tensor, NofM]]) -> None:
    granularity = cases[0][1]
    scores = {str(i): score for i, (score, other) in enumerate(cases) if other == granularity}
    for name, kept in granularity.strict(scores).items():
        lowest = granularity.attainable(scores[name].shape, granularity.n / granularity.m)
        assert torch.equal(kept, granularity.keep(scores[name], lowest))
        assert kept.movedim(1, -1).is_contiguous()
    assert granularity.strict({}) == {}


def test_n_of_m_groups_input_channels_of_linear_weights_too() -> None:
    score = torch.tensor([[1.0, 4.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0]])
    assert NofM(2, 4).keep(score, 4).tolist() == [[False, True, True, False], [True, True, False, False]]


def test_dense_groups_follow_the_scores_not_their_position() -> None:
    generator = torch.Generator().manual_seed(0)
    score = torch.rand(16, 16, 3, 3, generator=generator)
    kept = NofM(2, 4).keep(score, NofM(2, 4).attainable(score.shape, 0.75))
    whole = kept.permute(0, 2, 3, 1).reshape(-1, 4).all(dim=1)
    sums = score.permute(0, 2, 3, 1).reshape(-1, 4).sum(dim=1)
    assert int(whole.sum()) == whole.numel() // 2
    assert float(sums[whole].min()) >= float(sums[~whole].max())
    assert not bool(whole[: whole.numel() // 2].all())


def test_channels_that_do_not_divide_raise() -> None:
    with pytest.raises(ValueError, match=r"input channels.*must divide by 4.*Keep this layer dense"):
        NofM(2, 4).keep(torch.ones(8, 6, 3, 3), 100)
    with pytest.raises(ValueError, match="must divide by 4"):
        NofM(2, 4).attainable(torch.Size([8]), 0.5)


@pytest.mark.parametrize("density", [0.0, 0.30, 1.2])
def test_densities_that_n_of_m_cannot_reach_raise(density: float) -> None:
    with pytest.raises(ValueError, match=r"NofM\(2, 4\) cannot reach density .* n/m = 0.50"):
        NofM(2, 4).attainable(torch.Size([8, 8, 3, 3]), density)


@pytest.mark.parametrize("count", [3, 5, 9])
def test_counts_that_n_of_m_cannot_keep_raise(count: int) -> None:
    with pytest.raises(ValueError, match=f"cannot keep exactly {count} of 8"):
        NofM(2, 4).keep(torch.ones(2, 4), count)


@pytest.mark.parametrize(("n", "m"), [(0, 4), (4, 4), (5, 4), (-1, 2)])
def test_impossible_patterns_raise(n: int, m: int) -> None:
    with pytest.raises(ValueError, match="no N:M pattern"):
        NofM(n, m)


@given(st.integers(1, 8), st.integers(1, 8))
def test_names_parse_back(n: int, extra: int) -> None:
    for granularity in (Elementwise(), NofM(n, n + extra)):
        assert parse(granularity.name) == granularity
    assert parse("-") == Elementwise()


@pytest.mark.parametrize("text", ["", "2:4:8", "2-4", "elements", "2:-4", "4:2"])
def test_other_names_raise(text: str) -> None:
    with pytest.raises(ValueError, match=r"unknown granularity|no N:M pattern"):
        parse(text)


def test_a_masked_grouped_convolution_convolves_with_the_masked_weight() -> None:
    encoder = masked_encoder()
    masking.write(encoder, random_masks(encoder, 0.5, torch.Generator().manual_seed(1)))
    layer = encoder.get_submodule("6")
    assert isinstance(layer, nn.Conv2d)
    images = torch.randn(2, 8, 4, 4)
    weight = masking.latent(encoder)["6"] * masking.read(encoder)["6"]
    assert torch.equal(layer(images), functional.conv2d(images, weight, padding=(0, 1), groups=2))
