"""Laws of single opponents, each against brute force: I30 to I34, I19, I22, I24, and what is only theirs."""

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from methods import METHODS, masking
from methods.branches import Branches
from methods.granularity import Block, Filter, NofM, transposable
from methods.macs import Passes, TrainingMacs
from methods.method import SparseMethod
from methods.pruning.group_lasso import GroupLasso
from methods.pruning.itop import Itop
from methods.pruning.snfs import Snfs, redistributed
from methods.pruning.sr_ste import SrSte
from methods.pruning.srigl import updated
from methods.setting import Setting
from tests.strategies import IMAGE, SIZES, branches, images, loss_of, setting_of, train

TOTAL = 20


def attached(method: SparseMethod, *, tied: bool = False) -> tuple[Branches, Optimizer]:
    pair = branches(tied=tied)
    method.attach(pair, TOTAL)
    return pair, SGD(pair.online.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)


def trained(method: SparseMethod, steps: int, *, tied: bool = False) -> tuple[Branches, Optimizer]:
    pair, optimizer = attached(method, tied=tied)
    for _ in train(method, pair, optimizer, steps=range(steps)):
        pass
    return pair, optimizer


def true_gradient(pair: Branches, step: int) -> dict[str, Tensor]:
    """The gradient at every weight, active or not, of plain networks that hold the same products: no mask is near."""
    plain = Branches.__new__(Branches)
    online = masking.export(pair.online).train()
    for name, value in (("online", online), ("target", copy.deepcopy(pair.target)), ("tied", False)):
        object.__setattr__(plain, name, value)
    loss_of(plain, images(torch.Generator().manual_seed(step), 8)).backward()
    gradients = {}
    for path in masking.read(pair.online):
        layer = online.get_submodule(path)
        assert isinstance(layer, nn.Conv2d)
        assert layer.weight.grad is not None
        gradients[path] = layer.weight.grad
    return gradients


def stepped(method: SparseMethod, pair: Branches, optimizer: Optimizer, step: int) -> None:
    """The part of a step up to the weight step, on the data of ``train``."""
    method.before_forward(step)
    (loss_of(pair, images(torch.Generator().manual_seed(step), 8)) + method.penalty()).backward()
    method.on_gradient(step, optimizer)


# In-time over-parameterisation


@pytest.mark.parametrize("name", ["set_itop", "rigl_itop"])
def test_what_was_explored_is_the_union_of_all_masks(name: str) -> None:
    method = METHODS[name](setting_of(name))
    pair, optimizer = attached(method)
    ever = {path: mask.bool() for path, mask in masking.read(pair.online).items()}
    counts, expected = masking.counts(pair.online), []
    for step in train(method, pair, optimizer, steps=range(TOTAL)):
        ever = {path: mask.bool() | ever[path] for path, mask in masking.read(pair.online).items()}
        assert masking.counts(pair.online) == counts
        if step in method.facts().update_steps:
            expected.append(sum(int(mask.sum()) for mask in ever.values()) / sum(SIZES.values()))
    explored = method.facts().curves["explored"]
    assert explored == tuple(expected)
    assert 0.1 < explored[0] < explored[-1] <= 1.0
    assert method.facts().update_steps == tuple(range(1, 19))  # the last at 90 % of the run
    assert method.facts().curves["exchanged_fraction"][0] == 0.5
    assert method.facts().curves["exchanged_fraction"][-1] == 0.005


def test_in_time_over_parameterisation_has_periods_of_its_own() -> None:
    for name, every in (("set_itop", 1500), ("rigl_itop", 4000)):
        method = METHODS[name](setting_of(name))
        assert isinstance(method, Itop)
        method.attach(branches(tied=False), 97_750)
        due = [step for step in range(10_000) if method.is_due(step)]
        assert due == list(range(every, 10_000, every))
    with pytest.raises(ValueError, match=r"has a period of its own, but the setting asks for an update every 0\.1"):
        METHODS["set_itop"](setting_of("set_itop", period_fraction=0.1))


# Sparse networks from scratch


def test_snfs_sums_true_gradients_of_inactive_weights_too() -> None:
    method = Snfs(setting_of("snfs", period_fraction=1.0))  # one update, at the end
    pair, optimizer = attached(method)
    expected = {path: torch.zeros(mask.shape) for path, mask in masking.read(pair.online).items()}
    for step in range(3):
        gradients = true_gradient(pair, step)
        expected = {path: 0.9 * momentum + gradients[path] for path, momentum in expected.items()}
        for _ in train(method, pair, optimizer, steps=range(step, step + 1)):
            pass
    momenta = method.state()["momenta"]
    assert isinstance(momenta, dict)
    for path, momentum in expected.items():
        assert torch.allclose(momenta[path], momentum, atol=1e-6)
        assert bool((momenta[path][masking.read(pair.online)[path] == 0] != 0).any())


def test_an_update_of_snfs_is_the_algorithm_written_out() -> None:
    method = METHODS["snfs"](setting_of("snfs"))
    pair, optimizer = trained(method, 5)
    before, weights = masking.read(pair.online), {n: w.detach().clone() for n, w in masking.latent(pair.online).items()}
    stepped(method, pair, optimizer, 5)
    momenta, fraction = method.state()["momenta"], method.facts().curves["exchanged_fraction"][-1]
    assert isinstance(momenta, dict)
    kept, freed, means = {}, {}, {}
    for path, mask in before.items():
        active = [i for i, bit in enumerate(mask.flatten().tolist()) if bit]
        by_size = sorted(active, key=lambda i: float(weights[path].flatten()[i].abs()))
        gone = by_size[: math.floor(fraction * len(active))]
        kept[path], freed[path] = set(active) - set(gone), len(gone)
        momentum = momenta[path].flatten().abs()
        means[path] = sum(float(momentum[i]) for i in active) / len(active)
    after = masking.read(pair.online)
    total, shares = sum(freed.values()), sum(means.values())
    for path, mask in after.items():
        now = {i for i, bit in enumerate(mask.flatten().tolist()) if bit}
        assert kept[path] <= now
        grown = now - kept[path]
        assert abs(len(grown) - total * means[path] / shares) < 1.0  # no layer of this example is full
        momentum = momenta[path].flatten().abs()
        outside = set(range(mask.numel())) - now
        assert min((float(momentum[i]) for i in grown), default=math.inf) >= max(float(momentum[i]) for i in outside)
        fresh = list(grown - {i for i, bit in enumerate(before[path].flatten().tolist()) if bit})
        assert not bool(masking.latent(pair.online)[path].detach().flatten()[fresh].any())
    assert sum(masking.counts(pair.online).values()) == sum(int(mask.sum()) for mask in before.values())
    assert any(masking.counts(pair.online)[path] != int(mask.sum()) for path, mask in before.items())


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), min_size=1, max_size=6), st.floats(0, 1))
def test_what_is_redistributed_adds_up_fits_and_is_in_proportion(
    layers: list[tuple[int, int]], fraction: float
) -> None:
    room = {str(i): size for i, (size, _) in enumerate(layers)}
    shares = {str(i): float(share) for i, (_, share) in enumerate(layers)}
    total = math.floor(fraction * sum(room.values()))
    counts = redistributed(total, shares, room)
    assert sum(counts.values()) == total
    assert all(0 <= counts[name] <= room[name] for name in room)
    # As water finds its level: among layers with a share, what is not full has share x level, to the next integer.
    open_layers = [name for name in room if counts[name] < room[name] and shares[name]]
    levels = [((counts[name] - 1) / shares[name], (counts[name] + 1) / shares[name]) for name in open_layers]
    assert not levels or max(low for low, _ in levels) < min(high for _, high in levels) + 1e-9
    if open_layers:
        assert all(counts[name] == 0 for name in room if not shares[name])


def test_what_does_not_fit_is_not_redistributed() -> None:
    with pytest.raises(ValueError, match="5 weights do not fit into the 4 places of 2 layers"):
        redistributed(5, {"a": 1.0, "b": 1.0}, {"a": 3, "b": 1})
    with pytest.raises(ValueError, match="a layer must keep something"):
        Snfs(setting_of("snfs"), prune_rate=1.0)
    with pytest.raises(ValueError, match="at 1 it would never forget"):
        Snfs(setting_of("snfs"), momentum=1.0)


# Sparse, then dense


def test_sparse_then_dense_is_static_for_70_percent_and_spends_just_that() -> None:
    static, method = METHODS["static_erk"](setting_of("static_erk")), METHODS["sparse_then_dense"](setting_of("set"))
    (reference, _), (pair, optimizer) = attached(static), attached(method)
    passes = Passes(online=1, target_trained=0, target_forward=1)
    sparse, whole = TrainingMacs(reference, IMAGE, passes), TrainingMacs(pair, IMAGE, passes)
    for step in range(TOTAL):
        for counter in (sparse, whole):
            counter.observe()
        assert masking.digest(pair.online) == masking.digest(reference.online) or step > 14
        for _ in train(method, pair, optimizer, steps=range(step, step + 1)):
            pass
        if step == 14:  # 70 % of 20: freed weights start at 0, without a past
            for path, latent in masking.latent(pair.online).items():
                freed = masking.read(reference.online)[path] == 0
                assert not bool(latent.detach()[freed].any())
                assert not bool(optimizer.state[latent]["momentum_buffer"][freed].any())
    assert all(bool(mask.all()) for module in (pair.online, pair.target) for mask in masking.read(module).values())
    assert whole.ratio == pytest.approx((15 * sparse.ratio + 5) / 20)
    assert all(bool(latent.detach().any()) for latent in masking.latent(pair.online).values())


# Structured RigL


@st.composite
def layers(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Mask, magnitudes and gradients of a layer, (out, in, 1, 2); all scores distinct."""
    outputs, inputs = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    size = outputs * inputs * 2
    mask = torch.zeros(size)
    mask[draw(st.permutations(range(size)))[: draw(st.integers(1, size))]] = 1.0
    scores = [torch.tensor(draw(st.permutations(range(1, size + 1))), dtype=torch.float32) for _ in range(2)]
    shape = (outputs, inputs, 1, 2)
    return mask.reshape(shape), scores[0].reshape(shape) * mask.reshape(shape), scores[1].reshape(shape)


@given(layers(), st.floats(0, 1), st.floats(0, 1))
def test_an_update_of_srigl_is_the_algorithm_written_out(
    layer: tuple[Tensor, Tensor, Tensor], fraction: float, salience: float
) -> None:
    mask, strength, growth = (each.flatten(1).tolist() for each in layer)
    cells = [(o, i) for o in range(len(mask)) for i in range(len(mask[0]))]
    active = [(o, i) for o, i in cells if mask[o][i]]
    ones, wide, filters = len(active), len(mask[0]), len(mask)
    dropped = math.floor(fraction * ones)
    kept = set(sorted(active, key=lambda cell: -strength[cell[0]][cell[1]])[: ones - dropped])
    promising = sorted(cells, key=lambda cell: -growth[cell[0]][cell[1]])[:dropped]
    salient = [len({cell for cell in (*kept, *promising) if cell[0] == o}) for o in range(filters)]
    wanted = max(1, int(salience * (ones // filters)))
    stay = min(max(sum(count >= wanted for count in salient), math.ceil(ones / wide)), filters, ones)
    order = sorted(range(filters), key=lambda o: -salient[o])
    expected = [[0.0] * wide for _ in range(filters)]
    for place, o in enumerate(order[:stay]):
        room = ones // stay + (place < ones % stay)
        mine = sorted((i for i in range(wide) if (o, i) in kept), key=lambda i: -strength[o][i])[:room]
        rest = sorted((i for i in range(wide) if i not in mine and (o, i) not in kept), key=lambda i: -growth[o][i])
        for i in [*mine, *rest][:room]:
            expected[o][i] = 1.0
    found = updated(*layer, fraction, salience)
    assert found.flatten(1).tolist() == expected
    fan_ins = [int(row.sum()) for row in found.flatten(1) if bool(row.any())]
    assert sum(fan_ins) == ones
    assert max(fan_ins) - min(fan_ins) <= 1


@pytest.mark.parametrize("tied", [False, True])
def test_active_filters_have_equally_many_weights_at_every_moment(tied: bool) -> None:  # noqa: FBT001
    method = METHODS["srigl"](setting_of("srigl", density=0.3))
    pair, optimizer = attached(method, tied=tied)
    counts, ablated = masking.counts(pair.online), []
    for step in itertools.chain([-1], train(method, pair, optimizer, steps=range(TOTAL))):
        fan_ins = {path: mask.flatten(1).sum(1) for path, mask in masking.read(pair.online).items()}
        for each in fan_ins.values():
            assert float(each[each > 0].max() - each[each > 0].min()) <= 1.0
        assert masking.counts(pair.online) == counts
        if step in method.facts().update_steps:
            ablated.append(float(sum(int((each == 0).sum()) for each in fan_ins.values())))
    assert method.facts().curves["ablated_filters"] == tuple(ablated)


@pytest.mark.parametrize("tied", [False, True])
def test_an_update_of_srigl_takes_the_place_of_the_step_and_weights_grow_from_nothing(*, tied: bool) -> None:
    method = METHODS["srigl"](setting_of("srigl", density=0.3))
    pair, optimizer = attached(method, tied=tied)
    moves = []
    for step in range(TOTAL):
        method.before_forward(step)
        loss_of(pair, images(torch.Generator().manual_seed(step), 8)).backward()
        moves.append(method.on_gradient(step, optimizer))
        if moves[-1]:
            optimizer.step()
        optimizer.zero_grad()
        for path, latent in masking.latent(pair.online).items():
            assert not bool(latent.detach()[masking.read(pair.online)[path] == 0].any())
    assert method.facts().update_steps == tuple(step for step, moved in enumerate(moves) if not moved) != ()


def test_a_full_filter_keeps_its_largest_weights() -> None:
    """SR1: published code cuts a filter with too many salient weights to size by position."""
    mask = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    strength = torch.tensor([[1.0, 2.0, 9.0, 0.0], [1.5, 0.0, 0.0, 0.0]])
    after = updated(mask, strength, torch.zeros(2, 4), 0.0, 0.3)
    assert after.tolist() == [[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]]


# N:M patterns


@given(st.integers(0, 10_000), st.sampled_from([(2, 4), (1, 4), (3, 4), (1, 2), (2, 3)]))
@settings(max_examples=15)
def test_transposable_masks_are_the_best_of_all(seed: int, pattern: tuple[int, int]) -> None:
    n, m = pattern
    score = torch.rand(2 * m, m, 1, 2, generator=torch.Generator().manual_seed(seed))
    kept = transposable.keep(score, n, m)
    assert kept.is_contiguous()
    rows = list(itertools.combinations(range(m), n))
    for block, kernel in itertools.product(range(2), range(2)):
        values = score[block * m : (block + 1) * m, :, 0, kernel].double()
        mask = kept[block * m : (block + 1) * m, :, 0, kernel]
        assert bool((mask.sum(0) == n).all())
        assert bool((mask.sum(1) == n).all())
        best = max(
            sum(float(values[o, i]) for o, row in enumerate(chosen) for i in row)
            for chosen in itertools.product(rows, repeat=m)
            if all(sum(i in row for row in chosen) == n for i in range(m))
        )
        assert float((values * mask).sum()) == pytest.approx(best)


def test_transposable_masks_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="only blocks up to 4 x 4 are solved"):
        transposable.keep(torch.ones(8, 8), 2, 8)
    with pytest.raises(ValueError, match="needs output and input channels that divide by 4"):
        transposable.keep(torch.ones(6, 4), 2, 4)
    with pytest.raises(ValueError, match="a score is not finite"):
        transposable.keep(torch.full((4, 4), math.nan), 2, 4)


@pytest.mark.parametrize("name", ["sr_ste", "sr_ste_transposable", "asp", "asp_transposable"])
@pytest.mark.parametrize("n", [1, 2])
def test_groups_are_exact_along_inputs_and_if_transposable_along_outputs(name: str, n: int) -> None:
    pair, _ = trained(METHODS[name](setting_of(name, f"{n}:4")), TOTAL)
    for mask in masking.read(pair.online).values():
        outputs, inputs = mask.shape[:2]
        assert bool((mask.reshape(outputs, inputs // 4, 4, -1).sum(2) == n).all())
        columns = mask.reshape(outputs // 4, 4, inputs, -1).sum(1)
        assert bool((columns == n).all()) is name.endswith("transposable")


def test_sr_ste_lets_the_true_gradient_through_and_shrinks_what_is_pruned() -> None:
    method = SrSte(setting_of("sr_ste"), transposable=False, decay=0.1)
    pair, optimizer = trained(method, 4)
    method.before_forward(4)  # masks of the present weights, so that both see the same products
    expected = true_gradient(pair, 4)
    stepped(method, pair, optimizer, 4)
    for path, latent in masking.latent(pair.online).items():
        mask = masking.read(pair.online)[path]
        assert latent.grad is not None
        assert torch.allclose(latent.grad, expected[path] + 0.1 * (1 - mask) * latent.detach(), atol=1e-6)


def test_sr_ste_takes_its_masks_from_the_present_weights_in_every_step() -> None:
    method = METHODS["sr_ste"](setting_of("sr_ste"))
    pair, optimizer = attached(method)
    flips = []
    for step in range(TOTAL):
        before, wanted = masking.read(pair.online), {}
        for path, latent in masking.latent(pair.online).items():
            wanted[path] = torch.zeros_like(before[path])
            grouped = latent.detach().abs().movedim(1, -1).reshape(-1, 4)
            chosen = torch.tensor([sorted(range(4), key=row.__getitem__)[2:] for row in grouped.tolist()])
            outputs, inputs, *kernel = latent.shape
            bits = torch.zeros_like(grouped).scatter_(1, chosen, 1.0).reshape(outputs, *kernel, inputs).movedim(-1, 1)
            wanted[path] = bits.contiguous()
        for _ in train(method, pair, optimizer, steps=range(step, step + 1)):
            pass
        after = masking.read(pair.online)
        assert all(torch.equal(after[path], wanted[path]) for path in after)
        flips.append(sum(int((after[path] != before[path]).sum()) for path in after) / sum(SIZES.values()))
    assert method.facts().curves["flipped"] == pytest.approx(flips)
    assert max(flips) > 0.0


def test_flips_are_noted_once_a_period_as_their_mean_per_step() -> None:
    curves = []
    for period in (1 / TOTAL, 0.25):
        method = SrSte(setting_of("sr_ste", period_fraction=period), transposable=False)
        trained(method, TOTAL)
        curves.append(method.facts().curves["flipped"])
    assert len(curves[1]) == 4
    assert curves[1][1] == pytest.approx(sum(curves[0][1:6]) / 5)


def test_asp_is_dense_to_the_middle_and_fixed_behind_it() -> None:
    method = METHODS["asp"](setting_of("asp"))
    pair, optimizer = trained(method, 10)
    assert all(bool(mask.all()) for mask in masking.read(pair.online).values())
    weights = {path: latent.detach().clone() for path, latent in masking.latent(pair.online).items()}
    stepped(method, pair, optimizer, 10)
    masks = masking.read(pair.online)
    for path, mask in masks.items():
        groups = (mask * weights[path].abs()).movedim(1, -1).reshape(-1, 4).sum(1)
        every = weights[path].abs().movedim(1, -1).reshape(-1, 4)
        best = torch.stack([every[:, list(pair_)].sum(1) for pair_ in itertools.combinations(range(4), 2)]).amax(0)
        assert torch.allclose(groups, best)
        latent = masking.latent(pair.online)[path]
        assert not bool(latent.detach()[mask == 0].any())
        assert not bool(optimizer.state[latent]["momentum_buffer"][mask == 0].any())
    optimizer.zero_grad()
    for _ in train(method, pair, optimizer, steps=range(11, TOTAL)):
        pass
    assert all(torch.equal(mask, masks[path]) for path, mask in masking.read(pair.online).items())
    assert method.facts().update_steps == (10,)


# Group lasso


@pytest.mark.parametrize("granularity", [Block(4, 4), Filter()])
def test_the_penalty_is_the_norms_of_the_groups_that_are_to_go(granularity: Block | Filter) -> None:
    method = GroupLasso(Setting(density=0.5, seed=0, granularity=granularity), penalty=0.3)
    pair, _ = attached(method)
    with torch.no_grad():
        for path, weight in masking.latent(pair.online).items():  # so that all layers have groups that go
            weight.copy_(weight**3 if path == "3" else weight)
            weight.div_(weight.abs().mean())
        masking.latent(pair.online)["3"][0:4, 0:4, 0, 0] = 0.0  # a group of nothing has no direction, and no NaN
    penalty = method.penalty()
    penalty.backward()
    latents = masking.latent(pair.online)
    found = {path: torch.zeros_like(w) if w.grad is None else w.grad for path, w in latents.items()}
    groups, means = [], []
    for path, parameter in latents.items():
        latent = parameter.detach()
        outputs, inputs, height, width = latent.shape
        if isinstance(granularity, Filter):
            cells = [
                [(o, i, h, w) for i in range(inputs) for h in range(height) for w in range(width)]
                for o in range(outputs)
            ]
        else:
            cells = [
                [(4 * a + o, 4 * b + i, h, w) for o in range(4) for i in range(4)]
                for a in range(outputs // 4)
                for b in range(inputs // 4)
                for h in range(height)
                for w in range(width)
            ]
        groups += [(path, cell) for cell in cells]
        means += [(sum(abs(float(latent[place])) for place in cell) / len(cell), path) for cell in cells]
    if isinstance(granularity, Filter):  # each layer has a budget of its own
        gone = [
            index
            for path in found
            for index in sorted((i for i in range(len(groups)) if means[i][1] == path), key=lambda i: means[i])[
                : sum(each[1] == path for each in means) // 2
            ]
        ]
    else:
        gone = sorted(range(len(groups)), key=lambda i: means[i])[: len(groups) - math.floor(len(groups) * 0.5 + 0.5)]
    expected = {path: torch.zeros_like(gradient) for path, gradient in found.items()}
    value = 0.0
    for index in gone:
        path, cell = groups[index]
        latent = latents[path].detach()
        norm = math.sqrt(sum(float(latent[place]) ** 2 for place in cell))
        value += 0.3 * norm
        for place in cell:
            expected[path][place] = 0.3 * float(latent[place]) / norm if norm else 0.0
    assert float(penalty.detach()) == pytest.approx(value, rel=1e-5)
    for path, gradient in found.items():
        assert torch.allclose(gradient, expected[path], atol=1e-6)


def test_emergent_density_is_projected_once_to_exactly_the_budget() -> None:
    method = GroupLasso(setting_of("group_lasso"), penalty=0.0)
    pair, optimizer = trained(method, 16)
    assert all(bool(mask.all()) for mask in masking.read(pair.online).values())
    with torch.no_grad():
        for latent in masking.latent(pair.online).values():
            latent[:4] *= 1e-4  # a half of the blocks of two layers, a third of those of the other
    stepped(method, pair, optimizer, 16)
    (emergent,), (density,) = (method.facts().curves[name] for name in ("emergent_density", "density"))
    assert emergent == pytest.approx((SIZES["3"] / 2 + SIZES["6"] / 2 + SIZES["7"] * 2 / 3) / sum(SIZES.values()))
    assert density == sum(masking.counts(pair.online).values()) / sum(SIZES.values()) == 128 / 480
    method.before_forward(17)
    assert not method.penalty().requires_grad
    assert not any(bool(mask[:4].any()) for mask in masking.read(pair.online).values())


def test_a_group_with_one_weight_that_is_left_is_not_gone() -> None:
    method = GroupLasso(setting_of("group_lasso"))
    pair, _ = attached(method)
    with torch.no_grad():
        for latent in masking.latent(pair.online).values():
            latent.zero_()
            latent[0, 0, 0, 0] = 1.0
    assert method._emergent_density() == 16 * len(SIZES) / sum(SIZES.values())


def test_the_penalty_alone_empties_the_groups_that_are_to_go() -> None:
    method = GroupLasso(Setting(density=0.5, seed=0, granularity=Block(4, 4)), penalty=1.0)
    pair, _ = attached(method)
    assert method._emergent_density() == 1.0
    kept = {path: mask.clone() for path, mask in method._kept().items()}
    optimizer = SGD(masking.latent(pair.online).values(), lr=0.002)
    for _ in range(300):
        optimizer.zero_grad()
        method.penalty().backward()
        optimizer.step()
    assert all(torch.equal(mask, kept[path]) for path, mask in method._kept().items())
    assert method._emergent_density() == 0.5


def test_opponents_refuse_shapes_and_fractions_that_they_cannot_take() -> None:
    with pytest.raises(ValueError, match="prunes to N:M patterns, but the granularity is element"):
        METHODS["sr_ste"](Setting(density=0.5, seed=0))
    with pytest.raises(ValueError, match="2:4 keeps exactly 2 of every 4 weights"):
        METHODS["asp"](Setting(density=0.3, seed=0, granularity=NofM(2, 4)))
    with pytest.raises(ValueError, match="group lasso removes groups of weights, but the granularity is 2:4"):
        METHODS["group_lasso"](Setting(density=0.5, seed=0, granularity=NofM(2, 4)))
    for name, option in (("sparse_then_dense", "sparse_fraction"), ("asp", "dense_fraction")):
        with pytest.raises(ValueError, match=f"{option} 1.5 is outside"):
            METHODS[name](setting_of(name), **{option: 1.5})
