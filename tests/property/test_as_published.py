"""What each bug of the published synchronized pruning does, and that without bugs it is ours, bit for bit."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import SGD, Optimizer

from methods import METHODS, build, masking, scores
from methods.allocation import alike, erk
from methods.branches import Branches
from methods.granularity import Block, Elementwise, Filter, Granularity, NofM
from methods.granularity.base import budget
from methods.method import SparseMethod
from methods.overlap import overlap
from methods.pruning.synchronized_as_published import Bugs, SynchronizedAsPublished, published_lamp
from methods.setting import Setting
from tests.strategies import SIZES, branches, images, loss_of, train

TOTAL = 20
END = 13  # of the ramp
NAME = "synchronized_as_published"
BUGS = [item.name for item in dataclasses.fields(Bugs)]
ALL_WEIGHTS = sum(SIZES.values())


def attached(
    bugs: str,
    *,
    name: str = NAME,
    tied: bool = False,
    density: float = 0.2,
    gap: float = 0.2,
    granularity: Granularity | None = None,
) -> tuple[SparseMethod, Branches, Optimizer]:
    setting = Setting(density=density, gap=gap, seed=7, granularity=granularity or Elementwise())
    options = (("bugs", bugs),) if name == NAME else ()
    method, pair = build(METHODS, name, setting, options), branches(tied=tied)
    method.attach(pair, TOTAL)
    return method, pair, SGD(pair.online.parameters(), lr=0.05, momentum=0.9)


def trained(bugs: str, until: int = TOTAL, **changes: object) -> tuple[SparseMethod, Branches]:
    method, pair, optimizer = attached(bugs, **changes)  # type: ignore[arg-type]
    for _ in train(method, pair, optimizer, steps=range(until)):
        pass
    return method, pair


def kept(masks: Mapping[str, Tensor]) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("granularity", "density"), [(Elementwise(), 0.1), (NofM(2, 4), 0.5)])
@pytest.mark.parametrize(("ours", "bugs"), [("synchronized_active", "none"), ("synchronized", "ranks_inactive")])
def test_null_row_without_bugs_it_is_ours(
    ours: str,
    bugs: str,
    granularity: Granularity,
    density: float,
    tied: bool,  # noqa: FBT001
) -> None:
    runs = []
    for name in (ours, NAME):
        method, pair = trained(bugs, name=name, tied=tied, density=density, granularity=granularity)
        digests = [masking.weights_digest(module) for module in (pair.online, pair.target)]
        curves = method.facts().curves
        runs.append((digests, curves["overlap_iou"], curves["newcomers_kept"], method.facts().update_steps))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("bug", BUGS)
def test_every_bug_can_be_had_alone_and_be_left_out(bug: str) -> None:
    assert [name for name in BUGS if getattr(Bugs.parse(bug), name)] == [bug]
    assert [name for name in BUGS if not getattr(Bugs.parse(f"all-{bug}"), name)] == [bug]
    assert Bugs.parse("all") == Bugs()
    assert not any(dataclasses.astuple(Bugs.parse("none")))
    assert Bugs.parse("+".join(BUGS)) == Bugs()


@pytest.mark.parametrize("text", ["", "most", "none-loses_ties", "loses_ties,draws_by_chance", "all-ties"])
def test_other_bugs_are_refused_with_their_names(text: str) -> None:
    with pytest.raises(ValueError, match=r"use all, none, some joined by '\+', or all-NAME; the names are compares_"):
        Bugs.parse(text)


@pytest.mark.parametrize("granularity", [Filter(), Block(4, 1)])
def test_shapes_that_no_public_code_prunes_are_refused(granularity: Granularity) -> None:
    with pytest.raises(ValueError, match="no published code prunes"):
        METHODS[NAME](Setting(density=0.5, seed=0, granularity=granularity))
    with pytest.raises(ValueError, match="no published code prunes 2:4 with lamp"):
        METHODS["synchronized_lamp_as_published"](Setting(density=0.5, seed=0, granularity=NofM(2, 4)))


@pytest.mark.parametrize("bugs", ["none", "subtracts_running_sums"])
def test_lamp_keeps_of_a_weak_layer_what_a_global_ranking_takes(bugs: str) -> None:
    allocations: tuple[Literal["global", "lamp"], ...] = ("global", "lamp")
    kept_of_it = []
    for allocation in allocations:
        pair = branches(tied=False)
        with torch.no_grad():
            masking.latent(pair.online)["3"].mul_(1e-3)
        setting = Setting(density=0.2, gap=0.0, seed=7)
        method = SynchronizedAsPublished(setting, allocation=allocation, momentum=0.0, bugs=bugs)
        method.attach(pair, TOTAL)
        found = method._ranked("online", 0.2)
        assert kept(found) == budget(ALL_WEIGHTS, 0.2)
        kept_of_it.append(int(found["3"].sum()))
    assert kept_of_it[0] <= 1 < kept_of_it[1]


# What each does


@pytest.mark.parametrize("mended", [False, True])
def test_comparing_magnitudes_with_a_threshold_of_averages_misses_the_density(mended: bool) -> None:  # noqa: FBT001
    """B1. Where weights have shrunk since, their averages lie above them, and too few exceed the threshold."""
    method, pair, _ = attached("none" if mended else "compares_magnitudes", gap=0.0)
    for latent in masking.latent(pair.online).values():
        latent.data *= 0.5
    found = kept(method._ranked("online", 0.2))  # type: ignore[attr-defined]
    assert (found == budget(ALL_WEIGHTS, 0.2)) is mended
    assert mended or found < 0.5 * budget(ALL_WEIGHTS, 0.2)


def test_drawing_by_chance_misses_the_count_and_nests_nothing() -> None:
    exact, drawn = attached("none", gap=0.1)[1], attached("draws_by_chance", gap=0.1)[1]
    counts = erk({name: latent.shape for name, latent in masking.latent(exact.online).items()}, 0.70)
    assert masking.counts(exact.online) == counts
    assert masking.counts(drawn.online) != counts
    assert abs(kept(masking.read(drawn.online)) / sum(counts.values()) - 1) < 0.15
    assert overlap(masking.read(exact.online), masking.read(exact.target)).containment == 1.0
    assert overlap(masking.read(drawn.online), masking.read(drawn.target)).containment < 1.0


def test_dropping_among_all_switches_stale_weights_on_without_growing_them() -> None:
    """B9, put in alone: of what the regrowing step keeps, some was not active before it."""
    stale = []
    for bugs in ("none", "drops_among_all"):
        method, pair, _ = attached(bugs, gap=0.0)
        generator = torch.Generator().manual_seed(1)
        for name, latent in masking.latent(pair.online).items():
            latent.data = torch.rand(latent.shape, generator=generator) + (masking.read(pair.online)[name] == 0)
        mask = masking.read(pair.online)["3"]
        found = method._dropped("3", mask, 0.3)  # type: ignore[attr-defined]
        stale.append(int((found * (1 - mask)).sum()))
    assert stale[0] == 0
    assert stale[1] > 0


def test_a_layer_of_which_nothing_is_left_becomes_dense() -> None:
    """B8, where nothing is to be removed because nothing is there: put in alone, and left out."""
    for bugs, ones in (("none", 0), ("revives_emptied_layers", SIZES["3"]), ("all-revives_emptied_layers", 0)):
        method, pair, optimizer = attached(bugs, density=0.05, gap=0.0)
        method.before_forward(END - 1)
        loss_of(pair, images(torch.Generator().manual_seed(1), 8)).backward()
        with torch.no_grad():
            masking.latent(pair.online)["3"].mul_(1e-6)
        method._averages["online"] = scores.EmaMagnitude(masking.latent(pair.online), 0.99)  # type: ignore[attr-defined]
        ranked = method._ranked  # type: ignore[attr-defined]
        method._ranked = lambda *given, real=ranked: {  # type: ignore[attr-defined]
            name: mask * (name != "3") for name, mask in real(*given).items()
        }
        method.on_gradient(END - 1, optimizer)
        assert masking.counts(pair.online)["3"] == ones
        assert method.facts().curves["emptied_layers"][-1] == 1


@pytest.mark.parametrize("tied", [False, True])
def test_growth_by_the_masked_gradient_knows_nothing_of_inactive_weights(tied: bool) -> None:  # noqa: FBT001
    """B5: its scores are 0 wherever no branch let a gradient through."""
    for bugs, is_blind in (("none", False), ("grows_by_masked_gradient", True)):
        method, pair, optimizer = attached(bugs, tied=tied, gap=0.0)
        for _ in train(method, pair, optimizer, steps=range(8)):
            pass
        method.before_forward(8)
        loss_of(pair, images(torch.Generator().manual_seed(1), 8)).backward()
        acting = masking.read(pair.online)
        if tied:
            acting = {name: torch.maximum(mask, masking.read(pair.target)[name]) for name, mask in acting.items()}
        growth = method._growth()  # type: ignore[attr-defined]
        seen = sum(int(growth[name][mask == 0].count_nonzero()) for name, mask in acting.items())
        assert (seen == 0) is is_blind


def test_the_first_groups_are_dense_and_not_those_that_were_drawn() -> None:
    """B12, in a layer of which some groups are dense and some are not."""
    for bugs, are_first in (("none", False), ("keeps_first_groups", True)):
        pair = attached(bugs, density=0.5, gap=0.0, granularity=NofM(2, 4))[1]
        dense = (NofM(2, 4).pooled(masking.read(pair.online)["3"]) == 4).flatten()
        assert 0 < int(dense.sum()) < len(dense)
        assert bool(dense[: int(dense.sum())].all()) is are_first


def test_some_groups_stay_dense_in_a_pattern_that_should_have_none() -> None:
    """B13: with an encoder of more than a hundred groups a layer, some are not 2:4 at the end."""
    shapes = {"layer": torch.Size((16, 16, 3, 3))}
    for bugs, level in (("none", 0.0), ("leaves_dense_groups", 0.01)):
        method, _, _ = attached(bugs, density=0.5, granularity=NofM(2, 4))
        final = method._final_level  # type: ignore[attr-defined]
        assert final == level
        ones = alike(shapes, final, NofM(2, 4))["layer"]
        assert (ones == shapes["layer"].numel() // 2) is (level == 0.0)


@pytest.mark.parametrize("granularity", [Elementwise(), NofM(2, 4)])
def test_ties_are_lost_and_the_kth_as_well(granularity: Granularity) -> None:
    """B7."""
    density = 0.5 if granularity == NofM(2, 4) else 0.2
    method, pair, _ = attached("loses_ties", density=density, gap=0.3, granularity=granularity)
    with torch.no_grad():
        for latent in masking.latent(pair.online).values():
            latent.copy_(torch.arange(latent.numel()).remainder(7).reshape(latent.shape))
    method._averages["online"] = scores.EmaMagnitude(masking.latent(pair.online), 0.99)  # type: ignore[attr-defined]
    found = method._ranked("online", 0.3)  # type: ignore[attr-defined]
    exact = attached("none", density=density, granularity=granularity)[0]
    exact._averages = method._averages  # type: ignore[attr-defined]
    assert kept(found) < kept(exact._ranked("online", 0.3))  # type: ignore[attr-defined]


def test_masks_change_until_the_end_and_only_the_online_one_after_the_ramp() -> None:
    short, long = (trained(bugs)[0].facts().update_steps for bugs in ("none", "regrows_to_the_end"))
    assert max(short) == END
    assert long == (*short, *range(END + 1, TOTAL))
    method, pair, optimizer = attached("regrows_to_the_end")
    targets, onlines = set(), set()
    for step in train(method, pair, optimizer, steps=range(TOTAL)):
        if step >= END:
            targets.add(masking.digest(pair.target))
            onlines.add(masking.digest(pair.online))
    assert len(targets) == 1
    assert len(onlines) > 1


def test_the_reported_overlap_is_agreement_which_is_high_by_chance() -> None:
    """B20."""
    method, pair = trained("reports_agreement", density=0.1)
    curves = method.facts().curves
    found = overlap(masking.read(pair.online), masking.read(pair.target))
    assert curves["overlap"][-1] == found.agreement
    assert not any(name.startswith("overlap_") for name in curves)
    assert "overlap_iou" in trained("none", density=0.1)[0].facts().curves


def test_differences_of_sums_disorder_the_largest_lamp_scores() -> None:
    """B34: single precision cannot tell the sum less all the others from 0."""
    strength = torch.cat([torch.full((4000,), 1.0), torch.tensor([1e-3, 2e-3])])
    strength[-1] = 1.0 + 1e-7
    exact, found = scores.lamp(strength), published_lamp(strength)
    assert int(exact.argmax()) == int(strength.argmax())
    assert float(exact.max()) == 1.0
    assert not torch.allclose(found.double(), exact, rtol=1e-3)
    few = torch.tensor([3.0, 1.0, 2.0])
    torch.testing.assert_close(published_lamp(few).double(), scores.lamp(few))


def test_of_what_grows_nothing_survives_where_all_latents_compete() -> None:
    """On weights that stand still: they were below the threshold, and the next one is higher."""
    survived = []
    for bugs in ("none", "ranks_inactive"):
        method, pair, optimizer = attached(bugs, gap=0.0)
        ranked, level = method._ranked, method._level  # type: ignore[attr-defined]
        competing = masking.read(pair.online) if bugs == "none" else None
        before = ranked("online", level.value(12), competing)
        method.before_forward(12)
        loss_of(pair, images(torch.Generator().manual_seed(1), 8)).backward()
        method.on_gradient(12, optimizer)
        grown = {name: mask * (1 - before[name]) for name, mask in masking.read(pair.online).items()}
        after = ranked("online", level.value(END), masking.read(pair.online) if bugs == "none" else None)
        survived.append(sum(int((mask * after[name]).sum()) for name, mask in grown.items()))
    assert survived[0] > 0
    assert survived[1] == 0


# The whole, against the published code written down again


@pytest.mark.parametrize("tied", [False, True])
@given(st.integers(7, 12), st.integers(0, 9))
@settings(max_examples=5)
def test_an_update_is_that_of_the_published_code(tied: bool, step: int, seed: int) -> None:  # noqa: FBT001
    """Thresholds, sorts and loops over single weights, and none of the parts that ours is made of."""
    method, pair, optimizer = attached("all", tied=tied)
    for _ in train(method, pair, optimizer, steps=range(step), data_seed=seed):
        pass
    averages = {name: mean.scores for name, mean in method._averages.items()}  # type: ignore[attr-defined]
    loss_of(pair, images(torch.Generator().manual_seed(seed), 8)).backward()
    level, rate = method._level.value(step), method._exchange.value(step)  # type: ignore[attr-defined]
    expected = dict[str, dict[str, Tensor]]()
    for branch, module, density in (("online", pair.online, level), ("target", pair.target, min(1.0, level + 0.2))):
        means = averages["online" if tied else branch]
        flat = sorted((float(value) for mean in means.values() for value in mean.flatten()), reverse=True)
        threshold = flat[int(density * ALL_WEIGHTS + 0.5) - 1]
        expected[branch] = {
            name: torch.tensor([float(abs(value) > threshold) for value in latent.flatten().tolist()])
            for name, latent in masking.latent(module).items()
        }
    for name, mask in expected["online"].items():
        latent = masking.latent(pair.online)[name].detach().flatten()
        gradient = masking.latent(pair.online)[name].grad
        assert gradient is not None
        ones = int(mask.sum())
        removed = -(-ones * rate // 1)
        if not removed:  # a layer of which nothing is left
            expected["online"][name] = (latent != 0).float()
            continue
        threshold = sorted(latent.abs().tolist())[int(len(mask) - ones + removed) - 1]
        after = torch.tensor([float(abs(value) > threshold) for value in latent.tolist()])
        candidates = sorted(
            (index for index in range(len(mask)) if not after[index]),
            key=lambda index: -abs(float(gradient.flatten()[index])),
        )
        for index in candidates[: ones - int(after.sum())]:
            after[index] = 1.0
        expected["online"][name] = after
    method.on_gradient(step, optimizer)
    for branch, module in (("online", pair.online), ("target", pair.target)):
        for name, mask in masking.read(module).items():
            assert torch.equal(mask.flatten(), expected[branch][name]), (branch, name)
