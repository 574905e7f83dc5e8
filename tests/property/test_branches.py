"""Laws of the two branches, and of whole methods: I14, I18, I26 to I28, I41, I42, I44, and the exact null rows."""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import SGD, Optimizer
from torch.utils._pytree import tree_map

from methods import METHODS, masking, scores
from methods.allocation import erk, global_, uniform
from methods.branches import Branches
from methods.exchange import drop, exchange
from methods.granularity.base import budget
from methods.granularity.element import Elementwise
from methods.granularity.n_of_m import NofM
from methods.granularity.select import select
from methods.history import History
from methods.method import SparseMethod
from methods.newcomers import Newcomers
from methods.overlap import overlap
from methods.pruning.static import StaticMask
from methods.pruning.synchronized import Synchronized
from methods.schedule import Cubic
from methods.setting import Setting
from tests.strategies import (
    FIXED,
    SIZES,
    branches,
    has_gap,
    images,
    keeps_exact_counts,
    loss_of,
    masked_encoder,
    random_masks,
    setting_of,
    takes,
    tiny_encoder,
    train,
)

TOTAL = 20
EXACT = [name for name in METHODS if keeps_exact_counts(name)]
PAIRS = [(name, tied) for name in METHODS for tied in (False, True) if takes(name, tied=tied)]
RAMPS = [name for name in EXACT if name.startswith(("gradual", "granet", "synchronized")) and name != "gradual_early"]
DYNAMIC = ["set", "rigl", *RAMPS]
# Of these, no weight is 0 but what the mask dropped. What others grow starts at 0, and may stay so behind a dead unit.
NEVER_ZERO = [*FIXED, *(name for name in RAMPS if not name.startswith("granet"))]
LAST = 14  # after it no mask changes: 68 % or, with a cosine that ends at 0, 75 % of the steps


def attached(name: str, *, tied: bool, **changes: float) -> tuple[SparseMethod, Branches, Optimizer]:
    pair = branches(tied=tied)
    method = METHODS[name](setting_of(name, **changes))
    method.attach(pair, TOTAL)
    return method, pair, SGD(pair.online.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A run from its first step to its last, for several laws: they look at it, and change nothing.

    Attributes:
        history: digests of both masks at the start and after each step.
        states: what a checkpoint would hold at the start and after each step.
        end: digests of both branches' weights at the end.
    """

    method: SparseMethod
    pair: Branches
    optimizer: Optimizer
    history: tuple[tuple[str, str], ...]
    states: tuple[tuple[Any, ...], ...]
    end: tuple[str, str]


@functools.cache
def whole(name: str, *, tied: bool) -> Whole:
    method, pair, optimizer = parts = attached(name, tied=tied)
    history, states = [digests(pair)], [state_of(*parts)]
    for _ in train(method, pair, optimizer, steps=range(TOTAL)):
        history.append(digests(pair))
        states.append(state_of(*parts))
    return Whole(
        method=method,
        pair=pair,
        optimizer=optimizer,
        history=tuple(history),
        states=tuple(states),
        end=everything(pair),
    )


def state_of(method: SparseMethod, pair: Branches, optimizer: Optimizer) -> tuple[Any, ...]:
    parts: tuple[Any, ...] = (pair.online, pair.target, optimizer, method)
    return copied(tuple(part.state_dict() for part in parts))


def copied(state: tuple[Any, ...]) -> tuple[Any, ...]:
    """Copy the tensors of a state; ``deepcopy`` takes seven times as long, and there are twenty-one states a run."""
    made: tuple[Any, ...] = tree_map(lambda each: each.clone() if isinstance(each, Tensor) else each, state)
    return made


def range_of_the_ramp() -> tuple[int, ...]:
    return Cubic.over(TOTAL, 0.30, 0.68, 1 / 40, initial=1, final=0.1).due_steps


def digests(pair: Branches) -> tuple[str, str]:
    return masking.digest(pair.online), masking.digest(pair.target)


def everything(pair: Branches) -> tuple[str, str]:
    return masking.weights_digest(pair.online), masking.weights_digest(pair.target)


# Twins


def test_a_twin_shares_parameters_and_batch_norm_but_no_mask() -> None:
    pair = branches(tied=True)
    assert [id(entry) for entry in pair.online.parameters()] == [id(entry) for entry in pair.target.parameters()]
    masking.write(pair.target, random_masks(pair.target, 0.5, torch.Generator().manual_seed(1)))
    assert all(bool(mask.all()) for mask in masking.read(pair.online).values())
    pair.target(images(torch.Generator()))
    statistics = [
        [buffer for name, buffer in module.named_buffers() if "running_mean" in name]
        for module in (pair.online, pair.target)
    ]
    assert all(first is second for first, second in zip(*statistics, strict=True))
    # Moving a module replaces its buffers: the shared statistics must stay shared.
    for module in (pair.online, pair.target):
        module.double()
    pair.target(images(torch.Generator()).double())
    assert torch.equal(pair.online.get_buffer("1.running_mean"), pair.target.get_buffer("1.running_mean"))


def test_a_twin_with_its_own_statistics_shares_every_parameter() -> None:
    online = branches(tied=True).online
    target = masking.twin(online, own_statistics=True)
    shared = {id(parameter) for parameter in online.parameters()}
    assert all(id(parameter) in shared for parameter in target.parameters())
    before = online.get_buffer("1.running_mean").clone()
    target(images(torch.Generator()))
    assert torch.equal(online.get_buffer("1.running_mean"), before)


def test_a_dense_twin_is_bit_identical_to_using_the_encoder_twice() -> None:
    twice, pair = branches(tied=True), branches(tied=True)
    digest = []
    for first, second in ((twice.online, twice.online), (pair.online, pair.target)):
        optimizer = SGD(first.parameters(), lr=0.1, momentum=0.9)
        for step in range(4):
            views = images(torch.Generator().manual_seed(step), 8)
            (first(views[:4]) - second(views[4:])).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        digest.append(masking.weights_digest(masking.export(first)))
    assert digest[0] == digest[1]


def test_gradients_of_both_views_reach_the_latent_through_their_own_masks() -> None:
    pair = branches(tied=True)
    pair.online.eval()
    pair.target.eval()
    generator = torch.Generator().manual_seed(1)
    masking.write(pair.online, random_masks(pair.online, 0.3, generator))
    masking.write(pair.target, random_masks(pair.target, 0.6, generator))
    views = images(generator, 8).chunk(2)
    parts: list[dict[str, Tensor]] = []
    for module, view in zip((pair.online, pair.target), views, strict=True):
        module(view).square().sum().backward()
        parts.append({name: torch.as_tensor(entry.grad) for name, entry in masking.latent(pair.online).items()})
        pair.online.zero_grad(set_to_none=True)
    (pair.online(views[0]).square().sum() + pair.target(views[1]).square().sum()).backward()
    for name, latent in masking.latent(pair.online).items():
        assert latent.grad is not None
        assert torch.allclose(latent.grad, parts[0][name] + parts[1][name], atol=1e-7)
        assert not bool(parts[0][name][masking.read(pair.online)[name] == 0].any())


# Every method


@pytest.mark.parametrize(("name", "tied"), [pair for pair in PAIRS if pair[0] in EXACT])
def test_counts_are_exact_and_nothing_changes_after_the_last_update(name: str, tied: bool) -> None:  # noqa: FBT001
    run = whole(name, tied=tied)
    method, pair, history = run.method, run.pair, run.history
    updates = method.facts().update_steps
    changed = tuple(step for step in range(TOTAL) if history[step + 1] != history[step])
    assert method.follows_weights or set(changed) <= set(updates)
    asked = setting_of(name)
    unit, density = asked.granularity.unit or 1, 1.0 if method.ends_dense else asked.density
    kept, wanted = (unit * budget(sum(SIZES.values()) // unit, each) for each in (density, density + asked.gap))
    assert sum(masking.counts(pair.online).values()) == kept
    assert sum(masking.counts(pair.target).values()) == wanted
    # What is exported was trained under its mask; only a target's mask may change to the end.
    assert method.follows_weights or wanted < kept or max(updates, default=0) <= 0.9 * TOTAL
    if name in DYNAMIC:
        assert updates == (range_of_the_ramp() if name in RAMPS else tuple(range(1, LAST + 1)))
        assert len(set(changed) & set(updates)) >= 5
        if name in RAMPS:
            assert changed[-1] >= updates[-2]
    assert (name in FIXED) is (updates == ()) is (changed == ())
    exported = method.export(pair.online)
    for path, mask in masking.read(pair.online).items():
        weight = exported.get_submodule(path).get_parameter("weight")
        assert not bool(weight[mask == 0].any())
        assert name not in NEVER_ZERO or bool(weight[mask == 1].all())


@pytest.mark.parametrize("name", [name for name in METHODS if not has_gap(name)])
def test_the_target_mask_is_a_copy_unless_the_method_is_about_branches(name: str) -> None:
    for online, target in whole(name, tied=False).history[1:]:
        assert online == target


@pytest.mark.parametrize(("name", "tied"), [pair for pair in dict(PAIRS).items() if pair[0] not in FIXED])
def test_accumulation_does_not_move_the_updates(name: str, tied: bool) -> None:  # noqa: FBT001
    """In one kind of pair: when masks move is decided before there is one."""
    method, pair, optimizer = attached(name, tied=tied)
    for _ in train(method, pair, optimizer, steps=range(TOTAL), accumulate=2):
        pass
    assert method.facts().update_steps == whole(name, tied=tied).method.facts().update_steps


@pytest.mark.parametrize(("name", "tied"), PAIRS)
@given(st.integers(0, TOTAL))  # the first example is 0, the second one drawn
@example(TOTAL - LAST - 1)  # from there on no update puts right what a checkpoint left out
@settings(max_examples=2)
def test_resuming_at_any_step_changes_no_bit(name: str, tied: bool, left: int) -> None:  # noqa: FBT001
    """From what the whole run's checkpoint would have held with so many steps left: they alone are taken again."""
    undisturbed = whole(name, tied=tied)
    resumed, again, other = attached(name, tied=tied)
    parts: tuple[Any, ...] = (again.online, again.target, other, resumed)
    for part, saved in zip(parts, copied(undisturbed.states[TOTAL - left]), strict=True):
        part.load_state_dict(saved)
    for _ in train(resumed, again, other, steps=range(TOTAL - left, TOTAL)):
        pass
    assert everything(again) == undisturbed.end
    assert resumed.facts() == undisturbed.method.facts()
    assert undisturbed.optimizer.state_dict()["state"].keys() == other.state_dict()["state"].keys()


@pytest.mark.parametrize(
    "name",
    [
        *("static_erk", "static_uniform", "set", "set_itop", "rigl", "rigl_itop", "srigl", "snfs", "sparse_then_dense"),
        *("granet", "synchronized"),
    ],
)
def test_random_masks_come_from_the_setting_alone(name: str) -> None:
    drawn = []
    for global_seed in (0, 1):
        torch.manual_seed(global_seed)
        state = torch.random.get_rng_state()
        drawn.append(digests(attached(name, tied=False)[1]))
        assert torch.equal(torch.random.get_rng_state(), state)
    assert drawn[0] == drawn[1]
    pair = branches(tied=False)
    METHODS[name](Setting(density=0.1, seed=8)).attach(pair, TOTAL)
    assert digests(pair) != drawn[0]


@pytest.mark.parametrize(("name", "allocation"), [("static_erk", erk), ("static_uniform", uniform)])
@given(st.floats(0.02, 1.0), st.integers(0, 99))
@settings(max_examples=10)
def test_static_masks_have_exactly_the_allocated_counts(
    name: str,
    allocation: Callable[[dict[str, torch.Size], float], dict[str, int]],
    density: float,
    seed: int,
) -> None:
    pair = branches(tied=False)
    METHODS[name](Setting(density=density, seed=seed)).attach(pair, TOTAL)
    layers = {path: latent.shape for path, latent in masking.latent(pair.online).items()}
    assert masking.counts(pair.online) == allocation(layers, density)


@pytest.mark.parametrize("name", ["dense", "set", "rigl", "granet"])
def test_other_granularities_are_refused_with_the_way_out(name: str) -> None:
    density = setting_of(name).density
    with pytest.raises(ValueError, match=r"prunes single weights, but the granularity is 2:4: use"):
        METHODS[name](Setting(density=density, seed=0, granularity=NofM(2, 4)))


@pytest.mark.parametrize("name", [name for name in METHODS if not has_gap(name)])
def test_a_gap_is_refused_where_there_is_one_mask(name: str) -> None:
    with pytest.raises(ValueError, match="gap"):
        METHODS[name](setting_of(name, gap=0.1))


def test_dense_refuses_a_density() -> None:
    with pytest.raises(ValueError, match="dense keeps everything, but the setting asks for"):
        METHODS["dense"](Setting(density=0.5, seed=0))


def test_a_stateless_method_refuses_foreign_state() -> None:
    with pytest.raises(ValueError, match=r"Dense keeps no state.*\['averages'\]"):
        METHODS["dense"](setting_of("dense")).load_state_dict({"averages": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"density": 0.0}, "density 0.0 is outside"),
        ({"density": 1.2}, "density 1.2 is outside"),
        ({"gap": -1.1}, r"gap -1.1 is outside \[-1, 1\]"),
        ({"gap": float("nan")}, r"gap nan is outside \[-1, 1\]"),
        ({"gap": -0.5}, "a target that is sparser keeps something"),
        ({"start_fraction": 0.7}, "start must not exceed end"),
        ({"end_fraction": 0.95}, "at least 10 % of the steps before the end"),
        ({"period_fraction": 0.0}, "period_fraction 0.0"),
    ],
)
def test_impossible_settings_raise(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Setting(**{"density": 0.5, "seed": 0, **changes})  # type: ignore[arg-type]


# Gradual


def test_gradual_ranks_all_latents_so_a_pruned_weight_may_return() -> None:
    method, pair, optimizer = attached("gradual", tied=False)
    for _ in train(method, pair, optimizer, steps=range(13)):
        pass
    latents = masking.latent(pair.online)
    off = masking.read(pair.online)["3"] == 0
    with torch.no_grad():
        latents["3"][off] += 100.0
    for _ in train(method, pair, optimizer, steps=range(13, 14)):
        pass
    magnitudes = scores.magnitude(latents)
    assert int(masking.read(pair.online)["3"][off].sum()) > 0
    assert float(magnitudes["3"][off].min()) > 90


def test_gradual_follows_the_ramp_exactly() -> None:
    method, pair, optimizer = attached("gradual", tied=True)
    ramp = Cubic.over(TOTAL, 0.30, 0.68, 1 / 40, initial=1.0, final=0.1)
    for step in train(method, pair, optimizer, steps=range(TOTAL)):
        expected = budget(sum(SIZES.values()), ramp.value(step))
        assert sum(masking.counts(pair.online).values()) == expected
    assert method.facts().curves["density"] == tuple(ramp.value(step) for step in ramp.due_steps)


# Synchronized


@given(st.floats(0.02, 1.0), st.floats(0.0, 1.0), st.booleans())
@settings(max_examples=10)
def test_the_target_is_denser_by_the_gap_at_every_moment(density: float, gap: float, tied: bool) -> None:  # noqa: FBT001
    method, pair, optimizer = attached("synchronized", tied=tied, density=density, gap=gap)
    total = sum(SIZES.values())
    ramp = Cubic.over(TOTAL, 0.30, 0.68, 1 / 40, initial=max(0.70, density), final=density)
    for step in train(method, pair, optimizer, steps=range(TOTAL)):
        online = ramp.value(step)
        assert sum(masking.counts(pair.online).values()) == budget(total, online)
        assert sum(masking.counts(pair.target).values()) == budget(total, min(1.0, online + gap))
    curves = method.facts().curves
    assert curves["online_density"] == tuple(ramp.value(step) for step in ramp.due_steps)
    assert curves["target_density"] == tuple(min(1.0, value + gap) for value in curves["online_density"])


@pytest.mark.parametrize("tied", [False, True])
def test_first_masks_are_erk_and_nested(tied: bool) -> None:  # noqa: FBT001
    _, pair, _ = attached("synchronized", tied=tied, gap=0.2)
    layers = {name: latent.shape for name, latent in masking.latent(pair.online).items()}
    assert masking.counts(pair.online) == erk(layers, 0.70)
    assert masking.counts(pair.target) == erk(layers, 0.70 + 0.2)
    assert overlap(masking.read(pair.online), masking.read(pair.target)).containment == 1.0
    _, full, _ = attached("synchronized", tied=tied, density=1.0, gap=0.5)
    assert all(bool(mask.all()) for module in (full.online, full.target) for mask in masking.read(module).values())


def synchronized(pair: Branches, *, prune_rate: float, **changes: float) -> Synchronized:
    method = Synchronized(setting_of("synchronized", **changes), prune_rate=prune_rate)
    method.attach(pair, TOTAL)
    return method


@pytest.mark.parametrize("tied", [False, True])
def test_synchronized_ranks_the_averages_of_each_branch(tied: bool) -> None:  # noqa: FBT001
    """Against averages kept by hand, with new weights at every step, so that raw magnitudes rank differently."""
    pair = branches(tied=tied)
    method = synchronized(pair, prune_rate=0.0, gap=0.2)
    optimizer = SGD(pair.online.parameters(), lr=0.5)
    ramp = Cubic.over(TOTAL, 0.30, 0.68, 1 / 40, initial=0.70, final=0.1)
    modules = {pair.online: 0.0, pair.target: 0.2}
    averages = {module: scores.magnitude(masking.latent(module)) for module in modules}
    averages = {module: {name: entry.clone() for name, entry in means.items()} for module, means in averages.items()}
    generator = torch.Generator().manual_seed(3)
    for step in range(14):
        method.before_forward(step)
        assert method.on_gradient(step, optimizer)
        for module, gap in modules.items() if ramp.is_due(step) else ():
            ones = global_(averages[module], ramp.value(step) + gap)
            expected = select(averages[module], ones, Elementwise())
            assert overlap(masking.read(module), expected).agreement == 1.0
            raw = select(scores.magnitude(masking.latent(module)), ones, Elementwise())
            assert overlap(raw, expected).agreement < 1.0 or ramp.value(step) + gap > 0.8
        with torch.no_grad():
            for latent in (*masking.latent(pair.online).values(), *masking.latent(pair.target).values()):
                latent.copy_(torch.randn(latent.shape, generator=generator) * 0.9**step)
        method.on_step(step)
        for module, means in averages.items():
            for name, latent in masking.latent(module).items():
                means[name] = 0.99 * means[name] + 0.01 * latent.detach().abs()


def test_synchronized_exchanges_online_weights_by_the_dense_gradient() -> None:
    """One update, recomputed from its parts; some of what grows lies outside the target's mask."""
    pair = branches(tied=True)
    method = synchronized(pair, prune_rate=0.5, gap=0.2)
    optimizer = SGD(pair.online.parameters(), lr=0.05)
    for _ in train(method, pair, optimizer, steps=range(8)):
        pass
    before = masking.read(pair.online)
    state: Any = method.state_dict()
    latents = scores.magnitude(masking.latent(pair.online))
    assert sum(int(came.sum()) for came in state["newcomers"].values()) > 0
    strength = {
        name: torch.where(state["newcomers"][name] == 1, latents[name], mean).masked_fill(before[name] == 0, -1.0)
        for name, mean in state["averages"]["online"].items()
    }
    method.before_forward(8)
    assert all(masking.is_watched(module) for module in pair.learners)
    loss_of(pair, images(torch.Generator().manual_seed(1), 8)).backward()
    growth = masking.dense_gradient(*pair.learners)
    method.on_gradient(8, optimizer)
    assert not any(masking.is_watched(module) for module in pair.learners)
    density, fraction = (method.facts().curves[name][-1] for name in ("online_density", "exchanged_fraction"))
    expected = {
        name: exchange(mask, strength[name], growth[name].abs(), fraction)
        for name, mask in select(strength, global_(strength, density), Elementwise()).items()
    }
    assert overlap(expected, masking.read(pair.online)).agreement == 1.0
    grown = {name: mask * (1 - masking.read(pair.target)[name]) for name, mask in masking.read(pair.online).items()}
    assert sum(int(mask.sum()) for mask in grown.values()) > 0


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", [name for name in EXACT if name.startswith(("synchronized", "granet"))])
def test_some_of_what_grows_outlives_the_next_update(name: str, tied: bool) -> None:  # noqa: FBT001
    """Counted from the masks alone. If all latents are ranked, what was dropped last time comes straight back."""
    method, pair, optimizer = attached(name, tied=tied, density=0.2)
    masks, outlived, grown = [masking.read(pair.online)], 0, 0
    for step in train(method, pair, optimizer, steps=range(TOTAL)):
        if step in method.facts().update_steps:
            masks.append(masking.read(pair.online))  # noqa: PERF401 (the masks of that moment)
    for before, after, later in zip(masks, masks[1:], masks[2:], strict=False):
        for layer, mask in after.items():
            came = (mask == 1) & (before[layer] == 0)
            grown += int(came.sum())
            outlived += int((came & (later[layer] == 1)).sum())
    assert outlived > 0.05 * grown
    shares = method.facts().curves["newcomers_kept"]
    assert shares[0] == 0.0
    assert max(shares) > 0.0


def test_inactive_weights_of_the_online_encoder_do_not_compete_and_those_of_the_target_do() -> None:
    pair = branches(tied=False)
    method = synchronized(pair, prune_rate=1e-9, density=0.5, gap=0.2)  # exchanges nothing, and yet ranks as if it did
    with torch.no_grad():  # the largest latents of all, and their averages, lie off the online mask
        for module in (pair.online, pair.target):
            for name, mask in masking.read(pair.online).items():
                masking.latent(module)[name][mask == 0] = 100.0
    for _ in range(2000):
        method.on_step(0)
    first = masking.read(pair.online)
    method.before_forward(13)
    loss_of(pair, images(torch.Generator(), 8)).backward()
    method.on_gradient(13, SGD(pair.online.parameters(), lr=0.1))
    for name, mask in masking.read(pair.online).items():
        assert not bool(mask[first[name] == 0].any())
    assert all(bool(mask[first[name] == 0].all()) for name, mask in masking.read(pair.target).items())


def test_the_share_of_newcomers_is_of_what_is_kept_before_others_grow() -> None:
    newcomers = Newcomers()
    assert newcomers.outliving({"a": torch.ones(4)}) == 0.0
    before, after = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 1.0, 1.0])
    newcomers.note({"a": before}, {"a": after})
    assert newcomers.outliving({"a": drop(after, torch.tensor([0.0, 3.0, 1.0, 2.0]), 1 / 3)}) == 0.5
    resumed = Newcomers()
    resumed.load_state_dict(newcomers.state_dict())
    assert resumed.outliving({"a": after}) == 1.0


def test_the_dense_gradient_is_watched_only_when_needed() -> None:
    pair = branches(tied=False)
    for prune_rate, expected in ((0.5, (6, 7, 8, 9, 10, 11, 12, 13)), (0.0, ())):
        method = synchronized(pair, prune_rate=prune_rate)
        watched = []
        for step in range(TOTAL):
            method.before_forward(step)
            if masking.is_watched(pair.online):
                watched.append(step)
            masking.watch(pair.online, enabled=False)
        assert tuple(watched) == expected


@pytest.mark.parametrize("tied", [False, True])
def test_facts_tell_the_overlap_of_the_two_masks(tied: bool) -> None:  # noqa: FBT001
    method, pair, optimizer = attached("synchronized", tied=tied, gap=0.3)
    expected = []
    for step in train(method, pair, optimizer, steps=range(TOTAL)):
        if step in method.facts().update_steps:
            expected.append(overlap(masking.read(pair.online), masking.read(pair.target)))  # noqa: PERF401
    curves = method.facts().curves
    assert curves["overlap_agreement"] == tuple(entry.agreement for entry in expected)
    assert curves["overlap_chance_corrected"] == tuple(entry.chance_corrected for entry in expected)
    assert curves["overlap_iou"] == tuple(entry.iou for entry in expected)
    assert curves["overlap_containment"] == tuple(entry.containment for entry in expected)


# Null rows: exact


@pytest.mark.parametrize("tied", [False, True])
def test_null_row_synchronized_without_gap_and_updates_is_static(tied: bool) -> None:  # noqa: FBT001
    """Up to the first update, at the same density and seed, they are the same run, bit for bit."""
    runs = []
    for build in (Synchronized, lambda setting: StaticMask(setting, allocation=erk)):
        pair = branches(tied=tied)
        method = build(Setting(density=0.70, seed=7, start_fraction=0.9, end_fraction=0.9))
        method.attach(pair, TOTAL)
        optimizer = SGD(pair.online.parameters(), lr=0.05, momentum=0.9)
        for _ in train(method, pair, optimizer, steps=range(18)):
            pass
        assert method.facts().update_steps == ()
        runs.append(everything(pair))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("tied", [False, True])
def test_null_row_prune_rate_zero_is_magnitude_alone(tied: bool) -> None:  # noqa: FBT001
    pair = branches(tied=tied)
    method = synchronized(pair, prune_rate=0.0, gap=0.0)
    optimizer = SGD(pair.online.parameters(), lr=0.05, momentum=0.9)
    for _ in train(method, pair, optimizer, steps=range(TOTAL)):
        if tied and method.facts().update_steps:
            online, target = digests(pair)
            assert online == target
    assert set(method.facts().curves["exchanged_fraction"]) == {0.0}
    assert sum(masking.counts(pair.online).values()) == budget(sum(SIZES.values()), 0.1)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", ["static_erk", "set", "gradual", "granet", "synchronized"])
def test_null_row_density_one_is_dense(name: str, tied: bool) -> None:  # noqa: FBT001
    runs = []
    for method_name, density in (("dense", 1.0), (name, 1.0)):
        pair = branches(tied=tied)
        method = METHODS[method_name](Setting(density=density, seed=7))
        method.attach(pair, TOTAL)
        optimizer = SGD(pair.online.parameters(), lr=0.05, momentum=0.9)
        for _ in train(method, pair, optimizer, steps=range(TOTAL)):
            pass
        runs.append(everything(pair))
    assert runs[0] == runs[1]


# What a user of the library forgets


def test_forgetting_to_install_masks_says_so() -> None:
    plain, masked = tiny_encoder(), masked_encoder()
    with pytest.raises(ValueError, match=r"online encoder: masks are not installed: call methods.masking.install"):
        Branches(plain, copy.deepcopy(plain), tied=False)
    with pytest.raises(ValueError, match="target encoder: masks are not installed"):
        Branches(masked, tiny_encoder(), tied=False)


def test_a_history_takes_the_same_values_at_every_update() -> None:
    history = History()
    history.add(3, density=0.5)
    history.add(4, density=0.25)
    assert (history.update_steps, history.curves) == ((3, 4), {"density": (0.5, 0.25)})
    with pytest.raises(ValueError, match="Note the same values at every update"):
        history.add(5, fraction=0.1)
