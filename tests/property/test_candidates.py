"""Laws of the methods whose dropped weights are gone, SET, RigL and GraNet: I29 to I36, and their null rows."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from bench.training.mask_file import Snapshots
from methods import METHODS, masking, scores
from methods.allocation import erk, global_
from methods.branches import Branches
from methods.exchange import exchange
from methods.granularity.element import Elementwise
from methods.granularity.select import select
from methods.method import SparseMethod
from methods.pruning.granet import GraNet
from methods.pruning.rigl import Rigl
from methods.pruning.static import StaticMask
from methods.schedule import CosineFraction, Cubic
from methods.setting import Setting
from tests.strategies import branches, effective_weights, images, loss_of, random_masks, train
from tests.tiny import tiny_run

TOTAL = 20
NAMES = ["set", "rigl", "granet"]
OPTIMIZERS: dict[str, Callable[[Branches], Optimizer]] = {
    "sgd": lambda pair: SGD(pair.online.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-2),
    "adam": lambda pair: Adam(pair.online.parameters(), lr=0.01, amsgrad=True),
    "adamw": lambda pair: AdamW(pair.online.parameters(), lr=0.01, weight_decay=0.1),
}


def sgd(pair: Branches) -> Optimizer:
    return OPTIMIZERS["sgd"](pair)


def attached(
    build: Callable[[Setting], SparseMethod], *, tied: bool, density: float = 0.2, seed: int = 7
) -> tuple[SparseMethod, Branches]:
    pair = branches(tied=tied)
    method = build(Setting(density=density, seed=seed))
    method.attach(pair, TOTAL)
    return method, pair


def cosine() -> CosineFraction:
    return CosineFraction(start_step=1, end_step=15, every=1, initial=0.3, final=0.0)


def state_of(pair: Branches, optimizer: Optimizer) -> dict[str, list[Tensor]]:
    """What an optimizer remembers of each weight."""
    return {
        name: [slot for slot in optimizer.state.get(weight, {}).values() if slot.shape == weight.shape]
        for name, weight in masking.latent(pair.online).items()
    }


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("optimizer_name", OPTIMIZERS)
@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_act_is_zero_and_has_no_past_at_every_moment(
    name: str,
    optimizer_name: str,
    tied: bool,  # noqa: FBT001
) -> None:
    method, pair = attached(METHODS[name], tied=tied)
    optimizer = OPTIMIZERS[optimizer_name](pair)
    for _ in train(method, pair, optimizer, steps=range(TOTAL)):
        remembered = state_of(pair, optimizer)
        for module in (pair.online, pair.target):
            masks = masking.read(module)
            for layer, weight in masking.latent(module).items():
                assert not bool(weight[masks[layer] == 0].any())
                assert torch.equal(weight, effective_weights(module)[layer])
        for layer, slots in remembered.items():
            assert not any(bool(slot[masking.read(pair.online)[layer] == 0].any()) for slot in slots)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_what_grows_starts_from_nothing_and_what_stays_keeps_its_value(name: str, tied: bool) -> None:  # noqa: FBT001
    method, pair = attached(METHODS[name], tied=tied)
    optimizer = sgd(pair)
    for _ in train(method, pair, optimizer, steps=range(7)):
        pass
    before = masking.read(pair.online)
    values = {layer: weight.detach().clone() for layer, weight in masking.latent(pair.online).items()}
    method.before_forward(7)
    loss_of(pair, images(torch.Generator().manual_seed(1), 8)).backward()
    method.on_gradient(7, optimizer)
    grown = remembered = 0
    for layer, after in masking.read(pair.online).items():
        came, stayed = (after == 1) & (before[layer] == 0), (after == 1) & (before[layer] == 1)
        grown += int(came.sum())
        weight = masking.latent(pair.online)[layer]
        assert not bool(weight[came].any())
        assert torch.equal(weight[stayed], values[layer][stayed])
        assert not any(bool(slot[came].any()) for slot in state_of(pair, optimizer)[layer])
        remembered += sum(int(slot[stayed].count_nonzero()) for slot in state_of(pair, optimizer)[layer])
        assert not bool(masking.latent(pair.target)[layer][came].any())
    assert grown > 0
    assert remembered > 0


@pytest.mark.parametrize("name", ["set", "rigl"])
@given(st.floats(0.02, 1.0), st.integers(0, 99), st.booleans())
@settings(max_examples=6)
def test_the_counts_of_all_layers_are_those_of_erk_at_every_moment(
    name: str,
    density: float,
    seed: int,
    tied: bool,  # noqa: FBT001
) -> None:
    method, pair = attached(METHODS[name], tied=tied, density=density, seed=seed)
    ones = erk({layer: weight.shape for layer, weight in masking.latent(pair.online).items()}, density)
    assert min(ones.values()) >= 1
    for _ in train(method, pair, sgd(pair), steps=range(TOTAL)):
        assert masking.counts(pair.online) == masking.counts(pair.target) == ones


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", ["rigl", "granet"])
def test_growth_follows_the_dense_gradient_of_all_learners(name: str, tied: bool) -> None:  # noqa: FBT001
    """One update, recomputed from its parts."""
    method, pair = attached(METHODS[name], tied=tied)
    optimizer = sgd(pair)
    for _ in train(method, pair, optimizer, steps=range(8)):
        pass
    masks, values = masking.read(pair.online), scores.magnitude(masking.latent(pair.online))
    strength = {layer: torch.where(masks[layer] == 1, value, -torch.ones(())) for layer, value in values.items()}
    method.before_forward(8)
    assert all(masking.is_watched(module) for module in pair.learners)
    loss_of(pair, images(torch.Generator().manual_seed(1), 8)).backward()
    growth = masking.dense_gradient(*pair.learners)
    assert method.on_gradient(8, optimizer) is (name == "granet")
    assert not any(masking.is_watched(module) for module in (pair.online, pair.target))
    fraction = cosine().value(8)
    if name == "granet":
        fraction = CosineFraction.over(TOTAL, 0.30, 0.68, 1 / 40, initial=0.5, final=0.005).value(8)
        density = Cubic.over(TOTAL, 0.30, 0.68, 1 / 40, initial=0.5, final=0.2).value(8)
        masks = select(strength, global_(strength, density), Elementwise())
    expected = {layer: exchange(mask, strength[layer], growth[layer].abs(), fraction) for layer, mask in masks.items()}
    found = masking.read(pair.online)
    assert all(torch.equal(found[layer], mask) for layer, mask in expected.items())
    assert any(not torch.equal(found[layer], mask) for layer, mask in masks.items())


def test_set_never_looks_at_a_gradient() -> None:
    """Nor does its growth depend on anything but seed and step: any weights, any gradients, one choice."""
    grown: list[list[Tensor]] = []
    for scale in (1.0, -3.0):
        method, pair = attached(METHODS["set"], tied=True)
        for step in range(4):
            method.before_forward(step)
            assert not any(masking.is_watched(module) for module in (pair.online, pair.target))
        start = masking.read(pair.online)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for layer, weight in masking.latent(pair.online).items():
                weight.copy_(start[layer] * torch.rand(weight.shape, generator=generator))
                weight.grad = scale * torch.rand(weight.shape)
        assert method.on_gradient(4, sgd(pair))
        after = masking.read(pair.online)
        assert any(not torch.equal(after[layer], mask) for layer, mask in start.items())
        grown.append(list(after.values()))
    assert all(torch.equal(first, second) for first, second in zip(*grown, strict=True))


def test_set_grows_elsewhere_at_every_step_and_with_every_seed() -> None:
    seen = set()
    for seed, step in ((7, 4), (7, 5), (8, 4)):
        method, _ = attached(METHODS["set"], tied=True, seed=seed)
        assert isinstance(method, Rigl)
        growth = method._growth(step)
        assert all(torch.equal(entry, growth[layer]) for layer, entry in method._growth(step).items())
        seen.add(str([entry.tolist() for entry in growth.values()]))
    assert len(seen) == len(((7, 4), (7, 5), (8, 4)))


def test_rigl_takes_no_weight_step_when_it_changes_the_mask() -> None:
    method, pair = attached(METHODS["rigl"], tied=False)
    optimizer = sgd(pair)
    steps = []
    for step in range(TOTAL):
        stem = pair.online.get_parameter("0.weight").detach().clone()
        for _ in train(method, pair, optimizer, steps=range(step, step + 1)):
            pass
        if torch.equal(stem, pair.online.get_parameter("0.weight")):
            steps.append(step)
    assert tuple(steps) == method.facts().update_steps == tuple(range(1, 15))
    assert method.facts().curves["exchanged_fraction"] == tuple(cosine().value(step) for step in range(1, 15))


@pytest.mark.parametrize("total", [1, 2, 3, 20, 97, 320])
def test_the_first_step_is_a_weight_step_and_the_last_quarter_is_calm(total: int) -> None:
    """A learning-rate schedule must not move before the optimizer has."""
    method, pair = Rigl(Setting(density=0.2, seed=0), growth="random", replaces_step=True), branches(tied=True)
    method.attach(pair, total)
    optimizer = sgd(pair)
    assert method.on_gradient(0, optimizer)
    assert all(method.on_gradient(step, optimizer) for step in range(int(0.75 * total), total))
    updates = method.facts().update_steps
    assert all(0 < step < 0.75 * total for step in updates)


def test_granet_drops_no_newcomer_before_an_inactive_weight() -> None:
    """Both are 0; a mask read off the weights (GraNet's code) loses what has just grown."""
    method, pair = attached(partial(GraNet, prune_rate=0.0), tied=True, density=0.5)
    masks = random_masks(pair.online, 0.5, torch.Generator().manual_seed(3))
    pair.write(masks)
    with torch.no_grad():
        for weight in masking.latent(pair.online).values():
            weight.zero_()
    method.on_gradient(13, sgd(pair))
    for layer, mask in masking.read(pair.online).items():
        kept_before = int((mask * masks[layer]).sum())
        assert kept_before == min(int(mask.sum()), int(masks[layer].sum()))


@pytest.mark.parametrize("tied", [False, True])
def test_granet_starts_from_erk_and_follows_the_ramp(tied: bool) -> None:  # noqa: FBT001
    method, pair = attached(METHODS["granet"], tied=tied, density=0.1)
    shapes = {layer: weight.shape for layer, weight in masking.latent(pair.online).items()}
    assert masking.counts(pair.online) == erk(shapes, 0.5)
    ramp = Cubic.over(TOTAL, 0.30, 0.68, 1 / 40, initial=0.5, final=0.1)
    total = sum(shape.numel() for shape in shapes.values())
    for step in train(method, pair, sgd(pair), steps=range(TOTAL)):
        assert sum(masking.counts(pair.online).values()) == int(ramp.value(step) * total + 0.5)
    assert method.facts().curves["density"] == tuple(ramp.value(step) for step in ramp.due_steps)
    _, full = attached(METHODS["granet"], tied=tied, density=0.8)
    assert masking.counts(full.online) == erk(shapes, 0.8)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("growth", ["gradient", "random"])
def test_null_row_dropping_nothing_is_static(growth: str, tied: bool) -> None:  # noqa: FBT001
    """What is exported is the same, bit for bit; the latents are not: dropped ones are 0 in one of them."""
    exported = []
    idle = partial(Rigl, growth=growth, replaces_step=growth == "gradient", fraction=0.0)  # type: ignore[arg-type]
    for build in (idle, partial(StaticMask, allocation=erk)):
        method, pair = attached(build, tied=tied)
        for _ in train(method, pair, sgd(pair), steps=range(TOTAL)):
            pass
        assert method.facts().update_steps == ()
        exported.append([masking.weights_digest(masking.export(module)) for module in (pair.online, pair.target)])
    assert exported[0] == exported[1]


def test_null_row_granet_without_regrowth_never_brings_a_weight_back() -> None:
    method, pair = attached(partial(GraNet, prune_rate=0.0), tied=False)
    before = masking.read(pair.online)
    for _ in train(method, pair, sgd(pair), steps=range(TOTAL)):
        after = masking.read(pair.online)
        assert all(not bool((mask > before[layer]).any()) for layer, mask in after.items())
        assert not masking.is_watched(pair.online)
        before = after


@pytest.mark.parametrize("changes", [{"start_fraction": 0.1}, {"end_fraction": 0.5}])
def test_a_foreign_window_is_refused_with_the_way_out(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"has a window of its own, but the setting asks .* leave both out"):
        METHODS["rigl"](Setting(density=0.2, seed=0, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["set", "rigl"])
def test_the_window_is_where_masks_change(name: str) -> None:
    """Snapshots of masks are taken in it, not in the window of a ramp that the method does not have."""
    method, pair = attached(METHODS[name], tied=False)
    assert method.window is not None
    start, end = method.window
    for _ in train(method, pair, sgd(pair), steps=range(TOTAL)):
        pass
    assert start * TOTAL <= method.history.update_steps[0]
    assert end * TOTAL - 1 <= method.history.update_steps[-1] <= end * TOTAL
    assert Snapshots(tiny_run("moco", name), TOTAL, method.window).steps == [0, 4, 8, 11, 15]
    assert METHODS["gradual"](Setting(density=0.2, seed=0)).window is None
    assert Snapshots(tiny_run("moco", "gradual"), TOTAL, None).steps == [6, 8, 10, 12, 14]
