"""Laws of dual gating's opponents (I57, I62 to I64): exact counts, what is skipped, copies, losses."""

import copy
import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.models import ResNetGenerator
from lightly.models.utils import update_momentum
from torch import Tensor, nn

from methods import GATES, GateSetting, masking
from methods.branches import Branches
from methods.gating import boosting, group, spatial
from methods.gating.boosting import BoostedConv2d
from methods.gating.control import GatedMethod
from methods.gating.convolution import GatedConv2d, block_convolutions
from methods.gating.group import HeadedConv2d
from methods.gating.layer import gated
from methods.gating.masked import MaskedConv2d
from methods.gating.measure import Budget, observe
from methods.gating.residual import feeders
from methods.gating.spatial import SpatialGate
from methods.gating.winners import CountedConv2d, counts, proportions, winners
from tests.strategies import GATE_PAIRS, counted_once, resnet_branches

OPPONENTS = ("channel_gate", "feature_boosting", "group_gate", "spatial_gate")
FEW = settings(max_examples=10)


@pytest.fixture(autouse=True, scope="module")
def counting() -> Iterator[None]:
    with counted_once():
        yield


def images(count: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def attached(name: str, *, tied: bool, reduction: float = 1.75, steps: int = 100) -> tuple[GatedMethod, Branches]:
    """An opponent on a small ResNet, with running statistics of a first batch, told what to reach."""
    branches = resnet_branches(tied=tied)
    method = GATES[name](GateSetting(reduction=reduction, seed=0))
    method.attach(branches, steps)
    method.hold_out(images(4, seed=9))
    return method, branches


def noted(encoder: nn.Module, views: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return gates and shares of a pass in evaluation mode."""
    layers = gated(encoder)
    for layer in layers.values():
        layer.notes = []
    with torch.no_grad():
        encoder.eval()(views)
    found = {}
    for path, layer in layers.items():
        assert layer.notes is not None
        (note,) = layer.notes
        layer.notes = None
        found[path] = (note.gates, note.shares)
    return found


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_there_are_exactly_k_winners_and_ties_go_to_the_lowest_index(channels: int, wish: int, seed: int) -> None:
    kept = min(channels, wish)
    generator = torch.Generator().manual_seed(seed)
    saliency = torch.randint(0, 3, (5, channels), generator=generator).float()  # full of ties
    won = winners(saliency, torch.tensor(kept))
    for row, chosen in zip(saliency.tolist(), won.tolist(), strict=True):
        expected = sorted(range(channels), key=lambda index: (-row[index], index))[:kept]
        assert [index for index, is_winner in enumerate(chosen) if is_winner] == sorted(expected)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.floats(0.0, 1.0))
def test_layers_keep_one_density_and_come_as_near_as_one_channel(sizes: list[int], wanted: float) -> None:
    channels = {str(place): size for place, size in enumerate(sizes)}

    def share(kept: dict[str, int]) -> float:
        return sum(kept[path] / size for path, size in channels.items()) / len(channels)

    kept = counts(channels, lambda each: share(dict(each)), wanted)
    densities = {path: count / channels[path] for path, count in kept.items()}
    density = max([(kept[path] - 1) / channels[path] for path in kept])  # the last one to gain left this behind
    for path, count in kept.items():
        assert count in {
            max(1, math.ceil(density * channels[path] - 1e-9)),
            math.floor(density * channels[path] + 1e-9) + 1,
        }
    assert all(0 < each <= 1 for each in densities.values())
    if share(dict.fromkeys(channels, 1)) <= wanted:
        assert abs(share(kept) - wanted) <= 1 / min(sizes) / len(sizes) + 1e-9


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["feature_boosting", "group_gate"])
def test_exact_opponents_execute_what_they_were_asked_for(name: str, *, tied: bool) -> None:
    method, branches = attached(name, tied=tied)
    seen, budget = observe(branches.online, branches.target, images()), Budget.of(branches.online, (3, 32, 32))
    for each in (seen.online, seen.target):
        assert budget.reduction(each.share(budget), each.overhead_macs) == pytest.approx(1.75, rel=0.03)
    assert method.knobs() == {}


@pytest.mark.parametrize(
    ("name", "slices", "tied"),
    [
        ("dual_gate", 1, True),
        ("dual_gate", 2, True),
        ("dual_gate", 1, False),
        ("channel_gate", 1, True),
        ("spatial_gate", 1, True),
    ],
)
def test_steering_settles_where_nothing_else_moves(name: str, slices: int, *, tied: bool) -> None:
    """Whole turns overshoot: every layer shifts what later ones see, and the error can grow from turn to turn."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        online = ResNetGenerator("resnet-9", width=0.125)
    online.linear = nn.Identity()
    masking.install(online)
    with torch.no_grad():
        online(images(32, seed=1))
    target = masking.twin(online, own_statistics=True) if tied else copy.deepcopy(online).requires_grad_(False)
    branches = Branches(online, target, tied)
    method = GATES[name](GateSetting(reduction=2.0, seed=0, slice_channels=slices))
    method.attach(branches, 40)
    method.hold_out(images(16, seed=9))
    with torch.no_grad():
        for encoder in (online, target):
            encoder(images(32, seed=1)), encoder(images(32, seed=2))
    method.on_step(39)
    seen, budget = method.observe(images(16, seed=9)), Budget.of(online, (3, 32, 32))
    for each in (seen.online, seen.target):
        assert budget.reduction(each.share(budget), each.overhead_macs) == pytest.approx(2.0, rel=0.01)


def test_boosting_executes_kept_inputs_times_kept_outputs() -> None:
    _, branches = attached("feature_boosting", tied=True)
    fed_by, found = feeders(branches.online, ()), noted(branches.online, images())
    assert fed_by == {}
    for path, (gates, shares) in found.items():
        layer = branches.online.get_submodule(path)
        assert isinstance(layer, BoostedConv2d)
        assert gates.sum(1).tolist() == [int(layer.kept)] * len(gates)
        rate = gates.double().mean(1)
        if path.endswith("conv2"):
            rate = rate * found[path.replace("conv2", "conv1")][0].double().mean(1)
        torch.testing.assert_close(shares.double(), rate)


def test_a_suppressed_channel_is_zero_where_the_next_convolution_reads_it() -> None:
    _, branches = attached("feature_boosting", tied=True)
    read: dict[str, Tensor] = {}
    for path in gated(branches.online):
        layer = branches.online.get_submodule(path)
        layer.register_forward_pre_hook(lambda _, given, path=path: read.update({path: given[0]}))
    gates = noted(branches.online, images())["layer2.0.conv1"][0]
    written = read["layer2.0.conv2"]
    assert not written[~gates].any()
    assert written[gates].any()


def test_boosting_asks_for_proportions_not_sizes() -> None:
    """Otherwise a picture of twice the contrast is boosted twice, layer by layer, until numbers overflow."""
    _, branches = attached("feature_boosting", tied=True)
    layer = branches.online.get_submodule("layer1.0.conv1")
    assert isinstance(layer, BoostedConv2d)
    layer.eval()
    layer.normalisation = nn.Identity()
    views = torch.rand(4, layer.conv.in_channels, 8, 8, generator=torch.Generator().manual_seed(0))
    once, doubled, nothing = (layer(factor * views) for factor in (1.0, 1024.0, 0.0))
    torch.testing.assert_close(doubled, 1024.0 * once)
    assert torch.isfinite(nothing).all()


def test_the_lasso_sees_losers_too() -> None:
    method, branches = attached("feature_boosting", tied=True)
    branches.online.train(), branches.target.train()
    passes: dict[str, list[Tensor]] = {}
    for path, layer in gated(branches.online).items():
        assert isinstance(layer, BoostedConv2d)
        assert int(layer.kept) < layer.channels
        nn.init.constant_(layer.predictor.bias, 3.0)  # so that losers have saliencies to see
        seen = passes[path] = []
        layer.predictor.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out.detach()))
    branches.online(images(seed=1)), branches.target(images(seed=2))
    predicted = {path: torch.cat(seen) for path, seen in passes.items()}  # of both views, equally many
    penalty = method.penalty() / boosting.PENALTY  # which is too small to compare with
    expected = torch.stack([each.relu().sum(1).mean() for each in predicted.values()]).sum()
    torch.testing.assert_close(penalty.detach(), expected)
    penalty.backward()
    (*_, (last, each)) = predicted.items()  # earlier saliencies reach later lassos too
    gradient = branches.online.get_parameter(f"{last}.predictor.bias").grad
    torch.testing.assert_close(gradient, (each > 0).float().mean(0))


def test_heads_ask_for_proportions_not_sizes() -> None:
    _, branches = attached("group_gate", tied=True)
    layer = branches.online.eval().get_submodule("layer2.0.conv2")
    views = torch.rand(3, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(layer(1024.0 * views), 1024.0 * layer(views))


def test_every_head_drops_exactly_as_many_and_skips_them() -> None:
    _, branches = attached("group_gate", tied=True)
    layer = branches.online.get_submodule("layer2.0.conv2")
    assert isinstance(layer, HeadedConv2d)
    views = torch.rand(3, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    means = proportions(views.mean((2, 3)))
    torch.testing.assert_close(means.mean(1), torch.full((3,), 0.39894228))
    saliency = torch.stack([predictor(means) for predictor in layer.predictors], 1)
    layer.notes = []
    output = layer(views)
    gates = layer.notes[0].gates
    layer.notes = None
    assert gates.sum(2).unique().tolist() == [int(layer.kept)]
    weight = layer.conv.weight.chunk(layer.heads)
    for head, part in enumerate(output.chunk(layer.heads, dim=1)):
        chosen = (saliency[:, head] * gates[:, head])[..., None, None]
        torch.testing.assert_close(part, nn.functional.conv2d(views * chosen, weight[head], padding=1))


@pytest.mark.parametrize(("name", "start", "middle"), [("group_gate", 9, 49), ("feature_boosting", 29, 59)])
def test_channels_are_dropped_along_the_ramp(name: str, start: int, middle: int) -> None:
    """Skipping starts in a network that has been trained without, and ends with time left."""
    method, branches = attached(name, tied=False, steps=120)
    final = {path: int(layer.get_buffer("kept")) for path, layer in gated(branches.target).items()}
    for step, part in ((0, 0.0), (start, 0.0), (middle, 0.5), (89, 1.0), (119, 1.0)):
        method.before_forward(step)
        for encoder in (branches.online, branches.target):
            for path, layer in gated(encoder).items():
                assert isinstance(layer, CountedConv2d)
                dropped = (layer.channels - final[path]) * part
                assert abs(layer.channels - int(layer.kept) - dropped) <= 0.5 + 1e-9


def test_the_lasso_of_heads_is_averaged_over_views() -> None:
    method, branches = attached("group_gate", tied=False)
    branches.online.train()
    means: list[Tensor] = []
    for layer in gated(branches.online).values():
        assert isinstance(layer, HeadedConv2d)
        for predictor in layer.predictors:
            predictor.register_forward_hook(lambda _, __, out: means.append(out.detach().mean()))
    branches.online(images(seed=1)), branches.online(images(seed=2))
    with torch.no_grad():
        branches.target.train()(images(seed=3))
    torch.testing.assert_close(method.penalty().detach() / group.PENALTY, torch.stack(means).sum() / 2)


def test_masks_do_not_depend_on_chance_at_evaluation_and_do_in_training() -> None:
    method, branches = attached("spatial_gate", tied=True)
    method.before_forward(3)
    first, second = noted(branches.online, images()), noted(branches.online, images())
    assert all(torch.equal(gates, second[path][0]) for path, (gates, _) in first.items())
    layer = branches.online.get_submodule("layer1.0.conv1")
    assert isinstance(layer, MaskedConv2d)
    assert layer.unit is not None
    views = torch.rand(2, 8, 16, 16)
    layer.unit.train()
    assert not torch.equal(layer.unit(views, layer.noise), layer.unit(views, layer.noise))
    method.before_forward(80)
    assert layer.noise is None


def test_bounds_open_from_the_budget_to_everything() -> None:
    method, _ = attached("spatial_gate", tied=True)
    assert isinstance(method, SpatialGate)
    method.before_forward(0)
    lowest, highest = method.bounds()
    assert lowest == pytest.approx(highest)
    method.before_forward(33)
    assert method.bounds() == pytest.approx((0.0, 1.0))
    method.before_forward(99)
    assert method.bounds() == pytest.approx((0.0, 1.0))


def test_what_is_skipped_reaches_no_kept_pixel_and_the_shortcut_stays() -> None:
    _, branches = attached("spatial_gate", tied=True)
    block = branches.online.get_submodule("layer2.0").eval()
    first, last = block.get_submodule("conv1"), block.get_submodule("conv2")
    assert isinstance(first, MaskedConv2d)
    assert isinstance(last, MaskedConv2d)
    first.notes, last.notes = [], []
    views = torch.rand(3, 8, 16, 16, generator=torch.Generator().manual_seed(1))
    assert first.unit is not None
    edge = (first.unit.window(views) + first.unit.image(views.mean((2, 3)))[..., None, None]).quantile(0.97)
    first.unit.aim.fill_(edge.item())
    with torch.no_grad():
        expected = block(views)
        near, kept = first.notes[0], last.notes[0]
        first.register_forward_hook(lambda _, __, out: out.masked_fill(~near.gates, 1e3))
        torch.testing.assert_close(block(views), expected)
        shortcut = block.get_submodule("shortcut")(views).relu()
    off = (~kept.gates).expand_as(expected)
    assert torch.equal(expected[off], shortcut[off])
    assert 0 < kept.shares.mean() < near.shares.mean() < 1
    widened = nn.functional.max_pool2d(kept.gates.float(), 3, stride=1, padding=1)
    assert torch.equal(near.gates.float(), widened)
    torch.testing.assert_close(near.shares, widened.mean((1, 2, 3)))


def test_the_budgets_loss_is_the_published_one_per_view() -> None:
    method, branches = attached("spatial_gate", tied=True)
    assert isinstance(method, SpatialGate)
    macs = Budget.of(branches.online, (3, 32, 32)).layers
    method.before_forward(0)
    (wanted, _), encoders = method.bounds(), (branches.online.train(), branches.target.train())
    method.before_forward(10)
    lowest, highest = method.bounds()
    for place, encoder in enumerate(encoders):
        for layer in gated(encoder).values():
            layer.notes = []
        encoder(images(seed=place))
    losses = []
    for encoder in encoders:
        executed = {
            path: macs[path] * float(layer.notes[0].shares.mean())
            for path, layer in gated(encoder).items()
            if layer.notes
        }
        outside = []
        for block in {path.rpartition(".")[0] for path in macs}:
            share = sum(executed[path] for path in macs if path.startswith(block))
            share /= sum(macs[path] for path in macs if path.startswith(block))
            outside.append(max(0.0, share - highest) ** 2 + max(0.0, lowest - share) ** 2)
        network = sum(executed.values()) / sum(macs.values())
        losses.append((network - wanted) ** 2 + sum(outside) / len(outside))
    penalty = method.penalty()
    assert penalty.item() == pytest.approx(spatial.PENALTY * sum(losses) / 2, rel=1e-3)
    penalty.backward()
    unit = branches.online.get_submodule("layer1.0.conv1.unit.window")
    assert isinstance(unit, nn.Conv2d)
    assert unit.weight.grad is not None
    assert unit.weight.grad.any()


@pytest.mark.parametrize(("name", "tied"), GATE_PAIRS)
def test_no_gate_tells_one_branch_what_the_other_sees(name: str, *, tied: bool) -> None:
    """Else a loss falls on views that have nothing in common. A single gate does tell, and says so."""
    found = []
    for seed in (1, 2):
        method, branches = attached(name, tied=tied)
        method.before_forward(90)
        branches.online.train()(images(seed=seed))
        found.append(branches.target.train()(images(seed=3)))
    assert torch.equal(*found) is not method.leaks
    assert method.leaks == (name == "single_gate")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["dual_gate", "channel_gate"])
def test_the_share_falls_from_all_to_the_wanted_one_before_steering_starts(name: str, *, tied: bool) -> None:
    method, branches = attached(name, tied=tied, steps=40)
    with torch.no_grad():
        for step in range(10):
            method.before_forward(step)
            branches.online.train()(images(seed=step)), branches.target.train()(images(seed=step))
    shares = []
    for step in (0, 3, 6, 9):
        method.before_forward(step)
        seen = method.observe(images(8, seed=9))
        budget = Budget.of(branches.online, (3, 32, 32))
        shares.append((seen.online.share(budget), seen.target.share(budget)))
    assert min(shares[0]) > 0.98
    assert all(later[0] < before[0] and later[1] < before[1] for before, later in pairwise(shares))
    aims = method.knobs()
    for step in (10, 39):
        method.before_forward(step)
        assert method.knobs() == aims


def test_it_is_measured_more_often_towards_the_end_and_the_last_turns_are_told() -> None:
    method, branches = attached("channel_gate", tied=True, steps=200)
    with torch.no_grad():
        for step in range(170, 200):
            method.before_forward(step)
            branches.online.train()(images(16, seed=step)), branches.target(images(16, seed=1000 + step))
            method.on_step(step)
    assert method.history.update_steps == (*range(169, 200, 2),)[1:]
    facts = method.gate_facts(lambda: images(8, seed=9)).facts
    moved = facts["aim_moved_after_training"]
    assert isinstance(moved, float)
    assert moved < 0.1
    assert facts["gates_never_on"] == []


@pytest.mark.parametrize("name", OPPONENTS)
def test_a_tied_pair_shares_the_gates_and_an_ema_target_follows_them(name: str) -> None:
    _, branches = attached(name, tied=True)
    pairs = zip(branches.online.parameters(), branches.target.parameters(), strict=True)
    assert all(first is second for first, second in pairs)
    _, branches = attached(name, tied=False)
    assert not any(parameter.requires_grad for parameter in branches.target.parameters())
    learned = {
        path: parameter
        for path, parameter in branches.online.named_parameters()
        if any(part in path for part in ("gate.", "predictor", "unit."))
    }
    assert learned
    with torch.no_grad():
        for parameter in learned.values():
            parameter.add_(1.0)
        before = {path: branches.target.get_parameter(path).clone() for path in learned}
    update_momentum(branches.online, branches.target, m=0.75)
    for path in learned:
        torch.testing.assert_close(branches.target.get_parameter(path), before[path] + 0.25)


@pytest.mark.parametrize("name", OPPONENTS)
def test_gates_do_not_depend_on_the_other_images_of_a_batch(name: str) -> None:
    _, branches = attached(name, tied=True)
    together = noted(branches.online, images(3))
    alone = [noted(branches.online, image[None]) for image in images(3)]
    for path, (gates, _) in together.items():
        single = torch.cat([each[path][0] for each in alone])
        assert float((gates == single).double().mean()) > 0.98  # up to rounding at a threshold


@pytest.mark.parametrize("name", OPPONENTS)
def test_macs_of_predictors_are_overhead_and_the_dense_ones_stay(name: str) -> None:
    plain = ResNetGenerator("resnet-9", width=0.125)
    plain.linear = nn.Identity()
    masking.install(plain)
    dense = Budget.of(plain, (3, 32, 32)).dense
    method, branches = attached(name, tied=True)
    budget = Budget.of(branches.online, (3, 32, 32))
    assert budget.dense == dense
    assert tuple(budget.layers) == block_convolutions(plain)
    channels = {path: plain.get_submodule(path) for path in budget.layers}
    by_hand = 0
    for path, conv in channels.items():
        assert isinstance(conv, nn.Conv2d)
        read, written = conv.in_channels, conv.out_channels
        pixels = budget.layers[path] // (9 * read * written)
        by_hand += {
            "channel_gate": 0,
            "feature_boosting": read * written,
            "group_gate": group.HEADS * 2 * read * max(1, read // (8 if read < 80 else 16)),
            "spatial_gate": (9 * read * pixels + read) * path.endswith("conv1"),
        }[name]
    assert budget.predictors == by_hand
    assert observe(branches.online, branches.target, images(2)).online.overhead_macs > 0
    assert 0 <= method.lowest_share < 1


@pytest.mark.parametrize("name", OPPONENTS)
def test_opponents_refuse_slices(name: str) -> None:
    with pytest.raises(ValueError, match="decides in units of its own, not in slices of 8 channels: use 'element'"):
        GATES[name](GateSetting(reduction=1.5, seed=0, slice_channels=8))


def test_channel_gates_read_the_first_channels_alone() -> None:
    _, branches = attached("channel_gate", tied=True)
    layer = branches.online.get_submodule("layer2.0.conv2")
    assert isinstance(layer, GatedConv2d)
    assert layer.gate is branches.target.get_submodule("layer2.0.conv2").get_submodule("gate")
    views = torch.rand(2, 16, 8, 8)
    changed = torch.cat([views[:, :4], views[:, 4:] + 1], 1)
    assert torch.equal(layer.base(views), layer.base(changed))
