"""Laws of blocks and filters: I1 to I8, I15 to I18 in units, and of the methods under them, with their null rows."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import SGD, Optimizer

from hardware.skipping.base import Tile
from hardware.skipping.blocks import Blocks
from methods import METHODS, masking, scores
from methods.allocation import Allocation, erk, global_, ranked, uniform
from methods.branches import Branches
from methods.exchange import exchange
from methods.granularity.base import Granularity, WholeUnits, budget
from methods.granularity.block import Block
from methods.granularity.element import Elementwise
from methods.granularity.filter import Filter
from methods.granularity.n_of_m import NofM
from methods.granularity.select import parse, select
from methods.masking import Masks
from methods.method import SparseMethod
from methods.schedule import Cubic
from methods.setting import Setting
from tests.strategies import PRUNABLE, SIZES, branches, train

TOTAL = 20
ALLOCATIONS: tuple[Allocation, ...] = ("global", "erk", "lamp")
NAMES = ["static_uniform", "static_erk", "gradual", "synchronized"]
WHOLE: list[WholeUnits] = [Block(4, 4), Block(4, 1), Block(2, 4), Filter()]
CASES = [(name, shape) for name in NAMES for shape in WHOLE if (name, shape) != ("static_erk", Filter())]


@st.composite
def tiled_scores(draw: st.DrawFn) -> tuple[Tensor, WholeUnits]:
    """Small scores with many ties, on shapes that divide; linear weights and filters among them."""
    rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    granularity = draw(st.sampled_from([Block(rows, columns), Filter()]))
    kernel = draw(st.lists(st.integers(1, 2), max_size=2))
    shape = torch.Size([rows * draw(st.integers(1, 3)), columns * draw(st.integers(1, 3)), *kernel])
    values = draw(st.lists(st.integers(0, 2), min_size=shape.numel(), max_size=shape.numel()))
    return torch.tensor(values, dtype=torch.float32).reshape(shape), granularity


def units_of(shape: torch.Size, granularity: WholeUnits) -> list[list[int]]:
    """The definition: the flat indices of each unit, units in the order of their first weights."""
    index = torch.arange(shape.numel()).reshape(shape)
    match granularity:
        case Block(rows, columns):
            index = index.reshape(*shape[:2], -1)
            found = [
                index[o : o + rows, i : i + columns, position]
                for o in range(0, shape[0], rows)
                for i in range(0, shape[1], columns)
                for position in range(shape[2:].numel())
            ]
        case _:
            found = list(index)
    return sorted((unit.reshape(-1).tolist() for unit in found), key=min)


@given(tiled_scores(), st.data())
def test_units_are_kept_by_their_sums_and_ties_go_to_the_first(
    case: tuple[Tensor, WholeUnits], data: st.DataObject
) -> None:
    score, granularity = case
    units = units_of(score.shape, granularity)
    count = data.draw(st.integers(0, len(units)))
    flat = score.reshape(-1)
    best = sorted(range(len(units)), key=lambda unit: (-float(flat[units[unit]].sum()), unit))[:count]
    expected = torch.zeros(score.numel(), dtype=torch.bool)
    expected[[index for unit in best for index in units[unit]]] = True
    kept = granularity.keep(score, count * len(units[0]))
    assert torch.equal(kept.reshape(-1), expected)
    assert kept.is_contiguous()
    assert kept.dtype == torch.bool
    if score.ndim == 4:
        channels_last = score.contiguous(memory_format=torch.channels_last)
        assert torch.equal(granularity.keep(channels_last, count * len(units[0])), kept)


@given(tiled_scores(), st.floats(0.001, 1.0))
def test_attainable_counts_whole_units_and_never_none(case: tuple[Tensor, WholeUnits], density: float) -> None:
    score, granularity = case
    units = units_of(score.shape, granularity)
    count = granularity.attainable(score.shape, density)
    assert count == len(units[0]) * max(1, math.floor(density * len(units) + 0.5))
    assert int(granularity.keep(score, count).sum()) == count


@given(tiled_scores(), st.data())
def test_one_by_one_blocks_are_single_weights(case: tuple[Tensor, WholeUnits], data: st.DataObject) -> None:
    score, _ = case
    count = data.draw(st.integers(0, score.numel()))
    assert torch.equal(Block(1, 1).keep(score, count), Elementwise().keep(score, count))


def test_a_filter_is_a_whole_output_channel() -> None:
    score = torch.rand(6, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    kept = Filter().keep(score, 2 * 45)
    alive = kept.flatten(1).any(dim=1)
    assert alive.nonzero().reshape(-1).tolist() == sorted(score.flatten(1).sum(dim=1).topk(2).indices.tolist())
    assert bool(kept[alive].all())


@given(tiled_scores())
def test_sums_and_their_spread_agree_on_which_weight_is_whose(case: tuple[Tensor, WholeUnits]) -> None:
    score, granularity = case
    for unit, indices in enumerate(units_of(score.shape, granularity)):
        assert float(granularity.pooled(score).reshape(-1)[unit]) == float(score.reshape(-1)[indices].sum())
    number = torch.arange(granularity.pooled(score).numel())
    spread = granularity.spread(number, score.shape)
    assert torch.equal(granularity.pooled(spread).reshape(-1), number.double() * granularity.size(score.shape))


@pytest.mark.parametrize(
    ("granularity", "shape", "message"),
    [
        (Block(4, 2), (6, 4, 3, 3), r"Block\(4, 2\) cannot tile .*\(6, 4, 3, 3\): its output channels .* divide by 4"),
        (Block(2, 4), (4, 6), r"input channels \(dimension 1\) by 4\. Keep this layer dense, choose another block"),
        (Block(1, 1), (8,), "cannot tile"),
        (Filter(), (8,), "has no filters"),
    ],
)
def test_shapes_that_do_not_divide_raise(granularity: WholeUnits, shape: tuple[int, ...], message: str) -> None:
    assert not granularity.fits(torch.Size(shape))
    for ask in (granularity.keep, granularity.attainable):
        with pytest.raises(ValueError, match=message):
            ask(torch.ones(shape) if ask == granularity.keep else torch.Size(shape), 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [-16, 8, 17, 160])
def test_counts_that_are_no_whole_blocks_raise(count: int) -> None:
    with pytest.raises(ValueError, match=f"block4x4 cannot keep {count} of 144 .* a multiple of 16, from 0 to 144"):
        Block(4, 4).keep(torch.ones(4, 4, 3, 3), count)


@pytest.mark.parametrize("granularity", [Block(2, 2), Filter()])
def test_non_finite_scores_raise(granularity: WholeUnits) -> None:
    score = torch.ones(4, 4)
    score[2, 1] = float("nan")
    for count in (8, 16):
        with pytest.raises(ValueError, match="layer9: a score is not finite"):
            select({"layer9": score}, {"layer9": count}, granularity)


@given(st.integers(1, 99), st.integers(1, 99))
def test_names_parse_back(rows: int, columns: int) -> None:
    assert parse(Block(rows, columns).name) == Block(rows, columns)
    assert parse(f"block{rows}x{columns}").name == f"block{rows}x{columns}"
    assert parse(Filter().name) == Filter()


@pytest.mark.parametrize("text", ["block", "block4", "block04x4", "block0x4", "block4x-1", "block4x4x4", "filters"])
def test_other_names_raise(text: str) -> None:
    with pytest.raises(ValueError, match=r"unknown granularity .* 'block4x4', 'filter'"):
        parse(text)


@pytest.mark.parametrize(("rows", "columns"), [(0, 1), (1, 0), (-4, 4)])
def test_impossible_blocks_raise(rows: int, columns: int) -> None:
    with pytest.raises(ValueError, match=f"{rows} x {columns} is no block"):
        Block(rows, columns)


@given(st.sampled_from([Block(4, 4), Block(2, 4), Block(4, 1)]), st.integers(0, 99), st.floats(0.05, 1.0))
def test_the_machine_skips_what_the_mask_leaves_out(block: Block, seed: int, density: float) -> None:
    """A block of a mask is a block of ``hardware``: no more passes than kept blocks, unless moved off the grid."""
    score = torch.rand(8, 8, 3, 3, generator=torch.Generator().manual_seed(seed))
    count = block.attainable(score.shape, density)
    mask = block.keep(score, count).numpy().reshape(8, 8, 9)
    machine = Blocks(block.rows, block.columns, compacts=False, pads=False)
    work = machine.measure(mask, Tile(block.rows, block.columns))
    assert work.passes == count / block.unit
    assert work.positions == count
    for axis, side in enumerate((block.rows, block.columns)):
        if side > 1:
            assert machine.measure(np.roll(mask, 1, axis), Tile(block.rows, block.columns)).passes >= work.passes


# Allocation


def random_scores(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sides = {"a": (8, 4, 3, 3), "b": (12, 8), "c": (4, 8, 1, 3)}
    return {name: torch.rand(shape, generator=generator) for name, shape in sides.items()}


@given(st.integers(0, 99), st.floats(0.1, 1.0), st.sampled_from([Block(4, 4), Block(4, 1), Block(2, 2)]))
def test_blocks_have_one_exact_budget_over_the_network(seed: int, density: float, block: Block) -> None:
    drawn = random_scores(seed)
    shapes = {name: score.shape for name, score in drawn.items()}
    total = sum(shape.numel() for shape in shapes.values())
    counts = [allocate(shapes, density, unit=block.unit) for allocate in (uniform, erk)]
    for ones in (*counts, *(ranked(drawn, density, block, each).ones for each in ALLOCATIONS)):
        assert sum(ones.values()) == block.unit * math.floor(density * (total // block.unit) + 0.5)
        assert all(count % block.unit == 0 and count >= block.unit for count in ones.values())
    for name, count in counts[0].items():
        units = shapes[name].numel() // block.unit
        assert count // block.unit in {1, math.floor(density * units), math.ceil(density * units)}


@given(st.integers(0, 99), st.floats(0.02, 1.0))
def test_one_by_one_blocks_share_like_single_weights(seed: int, density: float) -> None:
    drawn = random_scores(seed)
    blocks, single = (ranked(drawn, density, shapes).ones for shapes in (Block(1, 1), Elementwise()))
    assert blocks == global_(drawn, density) == single


@given(st.integers(0, 99), st.floats(0.001, 1.0))
def test_filters_have_one_budget_a_layer(seed: int, density: float) -> None:
    for name, ones in ranked(random_scores(seed), density, Filter()).ones.items():
        shape = random_scores(seed)[name].shape
        assert ones == max(1, math.floor(density * shape[0] + 0.5)) * math.prod(shape[1:])


# Methods


def attached(
    name: str, granularity: Granularity, *, tied: bool, density: float = 0.25, gap: float = 0.0
) -> tuple[SparseMethod, Branches, Optimizer]:
    pair = branches(tied=tied)
    method = METHODS[name](Setting(density=density, seed=7, gap=gap, granularity=granularity))
    method.attach(pair, TOTAL)
    return method, pair, SGD(pair.online.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)


def gap_of(name: str) -> float:
    return 0.3 if name == "synchronized" else 0.0


def kept_units(masks: Masks, granularity: WholeUnits) -> dict[str, int]:
    """Also demand that every unit is whole: all there, or all gone."""
    found = {}
    for name, mask in masks.items():
        whole = [mask.reshape(-1)[unit] for unit in units_of(mask.shape, granularity)]
        assert all(bool((unit == unit[0]).all()) for unit in whole)
        found[name] = sum(int(unit[0]) for unit in whole)
    return found


def check_budget(found: dict[str, int], granularity: WholeUnits, density: float) -> None:
    if isinstance(granularity, Filter):
        outputs = {"3": 8, "6": 8, "7": 12}
        assert found == {name: max(1, math.floor(density * count + 0.5)) for name, count in outputs.items()}
    else:
        assert granularity.unit
        assert sum(found.values()) == budget(sum(SIZES.values()) // granularity.unit, density)
        assert min(found.values()) >= 1


@pytest.mark.parametrize(("name", "granularity"), CASES)
@pytest.mark.parametrize("tied", [False, True])
def test_masks_are_whole_units_at_every_moment_and_exact_at_the_end(
    name: str,
    granularity: WholeUnits,
    tied: bool,  # noqa: FBT001
) -> None:
    method, pair, optimizer = attached(name, granularity, tied=tied, gap=gap_of(name))
    history = []
    for _ in train(method, pair, optimizer, steps=range(TOTAL)):
        for module in (pair.online, pair.target):
            found = kept_units(masking.read(module), granularity)
        history.append(masking.digest(pair.online))
    check_budget(kept_units(masking.read(pair.online), granularity), granularity, 0.25)
    check_budget(found, granularity, 0.25 + gap_of(name))
    exported = method.export(pair.online)
    for path in PRUNABLE:
        weight = exported.get_submodule(path).get_parameter("weight")
        assert torch.equal(weight != 0, masking.read(pair.online)[path] == 1)
    updates = method.facts().update_steps
    assert updates[-1:] == (() if name.startswith("static") else (13,))
    assert all(history[step] == history[step - 1] for step in range(1, TOTAL) if step not in updates)


@pytest.mark.parametrize("granularity", WHOLE)
@given(st.floats(0.0, 0.9), st.booleans())
@settings(max_examples=4)
def test_units_follow_the_ramp_and_the_target_the_gap(
    granularity: WholeUnits,
    gap: float,
    tied: bool,  # noqa: FBT001
) -> None:
    method, pair, optimizer = attached("synchronized", granularity, tied=tied, gap=gap)
    ramp = Cubic.over(TOTAL, 0.30, 0.68, 1 / 40, initial=0.70, final=0.25)
    for step in train(method, pair, optimizer, steps=range(TOTAL)):
        if step < 6:
            continue
        for module, extra in ((pair.online, 0.0), (pair.target, gap)):
            found = kept_units(masking.read(module), granularity)
            check_budget(found, granularity, min(1.0, ramp.value(step) + extra))
    assert method.facts().curves["online_density"] == tuple(ramp.value(step) for step in ramp.due_steps)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_null_row_training_with_one_by_one_blocks_is_training_with_single_weights(name: str, tied: bool) -> None:  # noqa: FBT001
    """Bit for bit, masks, weights and facts; regrowth included."""
    ends = []
    for granularity in (Block(1, 1), Elementwise()):
        method, pair, optimizer = attached(name, granularity, tied=tied, density=0.1, gap=gap_of(name))
        for _ in train(method, pair, optimizer, steps=range(TOTAL)):
            pass
        ends.append((masking.weights_digest(pair.online), masking.weights_digest(pair.target), method.facts()))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("granularity", [Block(4, 1), Filter()])
def test_gradual_keeps_the_units_of_the_largest_sums(granularity: WholeUnits) -> None:
    method, pair, optimizer = attached("gradual", granularity, tied=True)
    for _ in train(method, pair, optimizer, steps=range(9)):
        pass
    magnitudes = scores.magnitude(masking.latent(pair.online))
    method.on_gradient(9, optimizer)
    sums = {name: granularity.pooled(value).reshape(-1) for name, value in magnitudes.items()}
    kept = {name: granularity.pooled(mask).reshape(-1) > 0 for name, mask in masking.read(pair.online).items()}
    rivals = [(kept[name], sums[name]) for name in kept]
    if granularity.unit is not None:  # all layers compete
        rivals = [(torch.cat(list(kept.values())), torch.cat(list(sums.values())))]
    for stays, sizes in rivals:
        assert 0 < int(stays.sum()) < stays.numel()
        assert float(sizes[stays].min()) >= float(sizes[~stays].max())


@pytest.mark.parametrize("granularity", [Block(2, 4), Block(4, 1), Filter()])
def test_synchronized_brings_units_back_that_only_the_dense_gradient_can_find(granularity: WholeUnits) -> None:
    method, pair, optimizer = attached("synchronized_active", granularity, tied=False, gap=0.1)
    for _ in train(method, pair, optimizer, steps=range(8)):
        pass
    state: Any = method.state_dict()
    latents = scores.magnitude(masking.latent(pair.online))
    means = {
        name: torch.where(state["newcomers"][name] == 1, latents[name], mean)
        for name, mean in state["averages"]["online"].items()
    }
    before = masking.read(pair.online)
    method.before_forward(8)
    generator = torch.Generator().manual_seed(1)
    gradient = {name: torch.rand(mean.shape, generator=generator) for name, mean in means.items()}
    for name, entry in gradient.items():
        weight = pair.online.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        weight.backward(entry)
    method.on_gradient(8, optimizer)
    level = Cubic.over(TOTAL, 0.30, 0.68, 1 / 40, initial=0.70, final=0.25).value(8)
    fraction = method.facts().curves["exchanged_fraction"][-1]
    assert fraction > 0.2
    means = {name: torch.where(before[name] == 1, mean, -torch.ones(())) for name, mean in means.items()}
    largest = select(means, ranked(means, level, granularity).ones, granularity)
    grown = 0
    for name, mask in masking.read(pair.online).items():
        assert torch.equal(mask, exchange(largest[name], means[name], gradient[name], fraction, granularity))
        grown += int(((mask == 1) & (largest[name] == 0)).sum())
    assert grown > 0


@given(tiled_scores(), st.floats(0.0, 1.0), st.integers(0, 99))
def test_regrowth_exchanges_whole_units_and_keeps_their_number(
    case: tuple[Tensor, WholeUnits], fraction: float, seed: int
) -> None:
    score, granularity = case
    generator = torch.Generator().manual_seed(seed)
    size = granularity.size(score.shape)
    units = score.numel() // size
    mask = granularity.keep(torch.rand(score.shape, generator=generator), size * ((units + 1) // 2)).float()
    growth = torch.rand(score.shape, generator=generator)
    after = exchange(mask, score, growth, fraction, granularity)
    assert kept_units({"": after}, granularity) == kept_units({"": mask}, granularity)
    dropped = kept_units({"": ((mask == 1) & (after == 0)).float()}, granularity)[""]
    assert dropped <= math.floor(fraction * ((units + 1) // 2))


def test_a_pattern_has_nothing_to_exchange() -> None:
    with pytest.raises(ValueError, match="2:4 has no units to exchange"):
        exchange(torch.ones(4, 4), torch.ones(4, 4), torch.ones(4, 4), 0.5, NofM(2, 4))


@pytest.mark.parametrize("name", NAMES)
def test_layers_that_do_not_divide_stay_dense(name: str) -> None:
    """Of 8, 8 and 12 outputs, 12 does not divide by 8; regrowth leaves that layer alone."""
    granularity = Block(8, 2)
    method, pair, optimizer = attached(name, granularity, tied=True, gap=gap_of(name))
    for _ in train(method, pair, optimizer, steps=range(TOTAL)):
        assert bool(masking.read(pair.online)["7"].all())
    masks = masking.read(pair.online)
    assert [path for path, mask in masks.items() if not granularity.fits(mask.shape)] == ["7"]
    rest = sum(kept_units({path: masks[path] for path in ("3", "6")}, granularity).values())
    assert rest == budget((SIZES["3"] + SIZES["6"]) // granularity.unit, 0.25)


@pytest.mark.parametrize("name", NAMES)
def test_a_block_that_fits_no_layer_raises(name: str) -> None:
    method, pair = METHODS[name](Setting(density=0.25, seed=0, granularity=Block(16, 1))), branches(tied=True)
    with pytest.raises(ValueError, match="block16x1 fits none of the 3 prunable layers: widen the encoder"):
        method.attach(pair, TOTAL)


def test_filters_leave_nothing_to_allocate() -> None:
    with pytest.raises(ValueError, match=r"filter keeps as much in every layer.*static_uniform"):
        METHODS["static_erk"](Setting(density=0.25, seed=0, granularity=Filter()))
    for name in ("gradual_erk", "synchronized_lamp"):
        with pytest.raises(ValueError, match=r"filter keeps as much in every layer.*use the method without it"):
            METHODS[name](Setting(density=0.25, seed=0, granularity=Filter()))
