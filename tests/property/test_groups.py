"""Laws of the methods under an N:M pattern: I19 to I21, I23, I26, and their null rows."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import SGD, Optimizer

from methods import METHODS, masking, scores
from methods.allocation import erk
from methods.branches import Branches
from methods.granularity.n_of_m import NofM
from methods.granularity.select import select
from methods.masking import Masks
from methods.method import SparseMethod
from methods.schedule import Cubic
from methods.setting import Setting
from tests.strategies import PRUNABLE, branches, train

TOTAL = 20
NAMES = ["static_uniform", "gradual", "synchronized"]
PATTERNS = [NofM(2, 4), NofM(1, 4), NofM(1, 2)]


def setting_of(pattern: NofM, *, gap: float = 0.0) -> Setting:
    return Setting(density=round(pattern.n / pattern.m, 2), seed=7, gap=gap, granularity=pattern)


def attached(name: str, pattern: NofM, *, tied: bool, gap: float = 0.0) -> tuple[SparseMethod, Branches, Optimizer]:
    pair = branches(tied=tied)
    method = METHODS[name](setting_of(pattern, gap=gap))
    method.attach(pair, TOTAL)
    return method, pair, SGD(pair.online.parameters(), lr=0.05, momentum=0.9)


def kept_per_group(mask: Tensor, pattern: NofM) -> Tensor:
    """Along input channels, at a fixed filter and kernel position."""
    return mask.movedim(1, -1).reshape(-1, pattern.m).sum(dim=1)


def dense_groups(masks: Masks, pattern: NofM) -> dict[str, int]:
    """Also demand that every other group keeps exactly n."""
    found = {}
    for name, mask in masks.items():
        kept = kept_per_group(mask, pattern)
        assert set(kept.tolist()) <= {pattern.n, pattern.m}
        found[name] = int((kept == pattern.m).sum())
    return found


def expected(pair: Branches, pattern: NofM, fraction: float) -> dict[str, int]:
    sizes = {name: weight.numel() // pattern.m for name, weight in masking.latent(pair.online).items()}
    return {name: math.floor(fraction * groups + 0.5) for name, groups in sizes.items()}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_group_of_the_exported_encoder_keeps_exactly_n(name: str, tied: bool, pattern: NofM) -> None:  # noqa: FBT001
    method, pair, optimizer = attached(name, pattern, tied=tied, gap=0.3 if name == "synchronized" else 0.0)
    for _ in train(method, pair, optimizer, steps=range(TOTAL)):
        for module in (pair.online, pair.target):
            dense_groups(masking.read(module), pattern)
    exported = method.export(pair.online)
    for path in PRUNABLE:
        weight = exported.get_submodule(path).get_parameter("weight")
        assert bool((kept_per_group(weight != 0, pattern) == pattern.n).all())
    assert method.facts().update_steps[-1:] == (() if name == "static_uniform" else (13,))


@pytest.mark.parametrize("pattern", PATTERNS)
@given(st.floats(0.0, 1.0), st.booleans())
@settings(max_examples=5)
def test_the_fraction_of_dense_groups_follows_the_ramp_and_the_target_the_gap(
    pattern: NofM,
    gap: float,
    tied: bool,  # noqa: FBT001
) -> None:
    method, pair, optimizer = attached("synchronized", pattern, tied=tied, gap=gap)
    ramp = Cubic.over(TOTAL, 0.30, 0.68, 1 / 40, initial=0.70, final=0.0)
    for step in train(method, pair, optimizer, steps=range(TOTAL)):
        if step < 6:
            continue
        level = ramp.value(step)
        assert dense_groups(masking.read(pair.online), pattern) == expected(pair, pattern, level)
        assert dense_groups(masking.read(pair.target), pattern) == expected(pair, pattern, min(1.0, level + gap))
    share = pattern.n / pattern.m
    curves = method.facts().curves
    levels = [ramp.value(step) for step in ramp.due_steps]
    assert curves["online_density"] == pytest.approx([share + (1 - share) * level for level in levels])
    assert curves["target_density"] == pytest.approx([share + (1 - share) * min(1.0, level + gap) for level in levels])
    assert curves["online_density"][-1] == share
    assert set(curves["exchanged_fraction"]) == {0.0}


def test_gradual_starts_dense_and_makes_the_weakest_groups_conform_first() -> None:
    pattern = NofM(2, 4)
    method, pair, optimizer = attached("gradual", pattern, tied=True)
    ramp = Cubic.over(TOTAL, 0.30, 0.68, 1 / 40, initial=1.0, final=0.0)
    for step in train(method, pair, optimizer, steps=range(9)):
        assert dense_groups(masking.read(pair.online), pattern) == expected(pair, pattern, ramp.value(step))
    magnitudes = scores.magnitude(masking.latent(pair.online))
    method.on_gradient(9, optimizer)
    for name, mask in masking.read(pair.online).items():
        sums = kept_per_group(magnitudes[name], pattern)
        dense = kept_per_group(mask, pattern) == pattern.m
        assert 0 < int(dense.sum()) < dense.numel()
        assert float(sums[dense].min()) >= float(sums[~dense].max()) - 1e-6


@pytest.mark.parametrize("tied", [False, True])
def test_first_masks_give_erk_shares_of_random_dense_groups(tied: bool) -> None:  # noqa: FBT001
    pattern = NofM(1, 4)
    _, pair, _ = attached("synchronized", pattern, tied=tied, gap=0.2)
    latents = masking.latent(pair.online)
    shapes = {name: weight.shape for name, weight in latents.items()}
    for module, level in ((pair.online, 0.70), (pair.target, 0.70 + 0.2)):
        shares = {name: ones / shapes[name].numel() for name, ones in erk(shapes, level).items()}
        wanted = {name: math.floor(shares[name] * shapes[name].numel() / 4 + 0.5) for name in shapes}
        assert dense_groups(masking.read(module), pattern) == wanted
    online, target = masking.read(pair.online), masking.read(pair.target)
    assert all(not bool((mask > target[name]).any()) for name, mask in online.items())
    kept = kept_per_group(online["3"], pattern) == pattern.m
    assert not bool(kept[: int(kept.sum())].all())  # not the first ones


@pytest.mark.parametrize("tied", [False, True])
def test_patterns_are_chosen_by_the_averages(tied: bool) -> None:  # noqa: FBT001
    pattern = NofM(2, 4)
    method, pair, optimizer = attached("synchronized", pattern, tied=tied, gap=0.3)
    for _ in train(method, pair, optimizer, steps=range(13)):
        pass
    state = method.state_dict()["averages"]
    assert isinstance(state, dict)
    averages = {
        branch: {name: torch.as_tensor(mean) for name, mean in means.items()} for branch, means in state.items()
    }
    method.on_gradient(13, optimizer)
    for module, branch, level in ((pair.online, "online", 0.0), (pair.target, "online" if tied else "target", 0.3)):
        wanted = expected(pair, pattern, level)
        ones = {name: 2 * wanted[name] + mean.numel() // 2 for name, mean in averages[branch].items()}
        masks = select(averages[branch], ones, pattern)
        assert all(torch.equal(mask, masks[name]) for name, mask in masking.read(module).items())


@pytest.mark.parametrize("name", NAMES)
def test_layers_that_do_not_divide_stay_dense(name: str) -> None:
    """Of 4, 4 (8 in two groups) and 8 input channels, 8 alone divides by 8."""
    pattern = NofM(2, 8)
    method, pair, optimizer = attached(name, pattern, tied=True)
    for _ in train(method, pair, optimizer, steps=range(TOTAL)):
        pass
    masks = masking.read(pair.online)
    assert [path for path, mask in masks.items() if bool(mask.all())] == ["3", "6"]
    assert bool((kept_per_group(masks["7"], pattern) == 2).all())
    assert [path for path, mask in masks.items() if not pattern.fits(mask.shape)] == ["3", "6"]


@pytest.mark.parametrize("name", NAMES)
def test_a_pattern_that_fits_no_layer_raises(name: str) -> None:
    method, pair = METHODS[name](setting_of(NofM(8, 16))), branches(tied=True)
    with pytest.raises(ValueError, match="8:16 fits none of the 3 prunable layers: widen the encoder"):
        method.attach(pair, TOTAL)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("density", [0.1, 0.3, 0.49, 0.6, 1.0])
def test_another_density_is_refused_with_the_way_out(name: str, density: float) -> None:
    with pytest.raises(ValueError, match=r"2:4 keeps exactly 2 of every 4 weights, but .* use 0.50"):
        METHODS[name](Setting(density=density, seed=0, granularity=NofM(2, 4)))


def test_a_density_of_two_decimals_means_the_pattern() -> None:
    pattern = NofM(1, 3)
    assert pattern.density(pattern.level(0.33)) == 1 / 3
    METHODS["gradual"](Setting(density=0.33, seed=0, granularity=pattern))


def test_erk_has_nothing_to_allocate() -> None:
    with pytest.raises(ValueError, match=r"2:4 keeps as much in every layer.*use static_uniform"):
        METHODS["static_erk"](setting_of(NofM(2, 4)))


def test_null_row_without_a_gap_a_tied_pair_has_one_mask() -> None:
    method, pair, optimizer = attached("synchronized", NofM(2, 4), tied=True)
    assert not method.splits_branches
    for _ in train(method, pair, optimizer, steps=range(TOTAL)):
        assert masking.digest(pair.online) == masking.digest(pair.target)
