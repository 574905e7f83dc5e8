"""Laws of Unification: a gated and a dense network on the same weights, what each computes, and the losses between."""

import copy
import math

import pytest
import torch
from lightly.models import ResNetGenerator
from torch import Tensor, nn

from methods import GATES, GateSetting, masking
from methods.branches import Branches
from methods.gating.channel_unit import TEMPERATURE, ChannelUnit
from methods.gating.measure import Budget, observe
from methods.gating.unified import InnerConv2d, UnifiedGate

STEPS = 100
REDUCTION = 1.75


def images(count: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def encoder() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        online: nn.Module = ResNetGenerator("resnet-9", width=0.125)
    online.linear = nn.Identity()
    masking.install(online)
    return online


def attached(reduction: float = REDUCTION) -> tuple[UnifiedGate, Branches]:
    online = encoder()
    branches = Branches(online, masking.twin(online, own_statistics=True), tied=True)
    method = GATES["unified_gate"](GateSetting(reduction=reduction, seed=0))
    assert isinstance(method, UnifiedGate)
    method.attach(branches, STEPS)
    method.hold_out(images(4, seed=9))
    return method, branches


def inner(module: nn.Module) -> dict[str, InnerConv2d]:
    return {path: layer for path, layer in module.named_modules() if isinstance(layer, InnerConv2d)}


def test_the_target_computes_the_dense_network_and_the_online_encoder_the_gated_one() -> None:
    _, branches = attached()
    plain = encoder().eval()
    for module in (branches.online, branches.target):
        module.eval()
    dense, views = plain(images()), images()
    torch.testing.assert_close(branches.target(views), dense)
    assert not torch.allclose(branches.online(views), dense)
    units = [layer for layer in inner(branches.online).values() if layer.unit is not None]
    assert units
    assert len(units) == len(inner(branches.online)) / 2
    assert not any(layer.unit for layer in inner(branches.target).values())


def test_a_block_is_the_published_one() -> None:
    """Convolution, normalisation, ReLU, mask of channels, convolution: recomputed from the mask that the unit gave."""
    _, branches = attached()
    branches.online.eval()
    first, last = list(inner(branches.online).values())[:2]
    views = images(count=3).new_ones(3, first.conv.in_channels, 8, 8) * torch.rand(3, first.conv.in_channels, 8, 8)
    assert first.unit is not None
    assert first.normalisation is not None
    mask = first.unit(views, None)
    found = last(first(views))
    expected = last.conv(torch.relu(first.normalisation(first.conv(views))) * mask[:, :, None, None])
    assert torch.equal(found, expected)
    assert 0 < float(mask.mean()) < 1


def test_all_on_is_the_dense_network_bit_for_bit() -> None:
    _, branches = attached(reduction=1.0)
    plain = encoder()
    assert torch.equal(branches.online(images()), plain(images()))


def test_a_channel_that_is_off_tells_its_gate_what_it_would_have_given() -> None:
    """The gradient of a mask's entry is the output that it holds back, summed over pixels."""
    _, branches = attached()
    first, _ = list(inner(branches.online).values())[:2]
    views = torch.rand(4, first.conv.in_channels, 8, 8)
    first.train()
    mask = torch.zeros(4, first.conv.out_channels, requires_grad=True)
    first.unit = Constant(mask)  # type: ignore[assignment]
    first(views).sum().backward()
    assert first.normalisation is not None
    with torch.no_grad():
        held_back = torch.relu(first.normalisation(first.conv(views))).sum((2, 3))
    torch.testing.assert_close(mask.grad, held_back)
    assert bool((held_back > 0).any())


class Constant(nn.Module):
    """A unit that always gives one mask."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self._mask = mask

    def forward(self, _images: Tensor, _noise: object) -> Tensor:
        return self._mask

    def overhead_macs(self, _images: Tensor, _mask: Tensor) -> int:
        return 0


def test_macs_are_those_of_kept_outputs_and_kept_inputs() -> None:
    _, branches = attached()
    seen, budget = observe(branches.online, branches.target, images()), Budget.of(branches.online, (3, 32, 32))
    layers, executed = inner(branches.online), 0.0
    masks = dict[str, Tensor]()
    for path, layer in layers.items():
        if layer.unit is not None:
            layer.unit.register_forward_hook(lambda _m, _i, out, path=path: masks.__setitem__(path, out))
    with torch.no_grad():
        branches.online.eval()(images())
    paths = list(layers)
    for first, last in zip(paths[::2], paths[1::2], strict=True):
        kept = float(masks[first].sum(1).mean())
        executed += budget.layers[first] * kept / layers[first].conv.out_channels
        executed += budget.layers[last] * kept / layers[last].conv.in_channels
    assert seen.online.share(budget) == pytest.approx(executed / budget.gated)


def test_the_dense_branch_saves_and_costs_nothing() -> None:
    method, _ = attached()
    found = method.gate_facts(lambda: images(8))
    assert found.facts["reduction_target"] == 1.0
    assert found.facts["gate_rate_target"] == 1.0
    assert found.target_share == 1.0
    assert found.facts["macs_ratio"] == pytest.approx(1 / float(str(found.facts["reduction"])))


def test_the_last_turns_meet_the_reduction() -> None:
    method, branches = attached()
    for step in range(3):
        method.before_forward(step)
        branches.online.train()(images(16, seed=step))
        method.penalty()
    method.on_step(STEPS - 1)
    assert method.facts().curves["held_out_reduction"][-1] == pytest.approx(REDUCTION, rel=0.1)
    assert method.facts().curves["held_out_reduction_target"][-1] == 1.0


def test_losses_are_those_of_the_published_code() -> None:
    method, branches = attached()
    step = 25
    layers, budget = inner(branches.online), Budget.of(branches.online, (3, 32, 32))
    method.before_forward(step)
    branches.online.train()(images(16))
    rates = {path: float(torch.stack(layer.shares).mean().detach()) for path, layer in layers.items()}
    ratio = (
        budget.dense - budget.gated + sum(budget.layers[path] * rate for path, rate in rates.items())
    ) / budget.dense
    wanted = (budget.dense - budget.gated + method._wanted * budget.gated) / budget.dense
    opened = math.exp(-10 * step / STEPS)
    middle = math.sqrt(1 / REDUCTION)
    blocks = [rate for path, rate in rates.items() if layers[path].unit is not None]
    low = sum(max(0.0, opened * middle - rate) ** 2 for rate in blocks) / len(blocks)
    high = sum(max(0.0, rate - 1 + opened - opened * middle) ** 2 for rate in blocks) / len(blocks)
    assert float(method.penalty().detach()) == pytest.approx(5 * (ratio - wanted) ** 2 + low + high, rel=1e-4)
    assert all(layer.shares == [] for layer in layers.values())


def test_bounds_open_from_the_square_root_of_the_budget_to_everything() -> None:
    method, _ = attached()
    method.before_forward(0)
    assert method.bounds() == pytest.approx((math.sqrt(1 / REDUCTION),) * 2)
    method.before_forward(STEPS)
    low, high = method.bounds()
    assert low < 1e-4
    assert high > 1 - 1e-4


def test_each_branch_has_the_normalisation_inside_the_blocks_to_itself_and_shares_the_rest() -> None:
    _, branches = attached()
    online = {id(parameter) for parameter in branches.online.parameters()}
    own = {name for name, parameter in branches.target.named_parameters() if id(parameter) not in online}
    assert own
    assert all("normalisation" in name or ".bn2." in name for name in own)
    assert not any("shortcut" in name or name.startswith("bn1") for name in own)
    latents = [id(latent) for latent in masking.latent(branches.online).values()]
    assert latents == [id(latent) for latent in masking.latent(branches.target).values()]


def test_a_target_without_a_gradient_is_refused() -> None:
    online = encoder()
    pair = Branches(online, copy.deepcopy(online).requires_grad_(False), tied=False)
    with pytest.raises(ValueError, match="no gradient reaches this framework's target: use a"):
        GATES["unified_gate"](GateSetting(reduction=REDUCTION, seed=0)).attach(pair, STEPS)


def test_noise_decides_in_training_alone_and_a_gate_is_its_own_images() -> None:
    unit = ChannelUnit(8, 12)
    views = torch.rand(5, 8, 4, 4)
    noise = torch.Generator().manual_seed(1)
    assert not torch.equal(unit(views, noise) > 0, unit(views, noise) > 0)
    unit.eval()
    assert torch.equal(unit(views, noise), unit(views, None))
    assert torch.equal(unit(views, None)[:2], unit(views[:2], None))


def test_the_gradient_of_a_step_is_that_of_the_cooled_sigmoid() -> None:
    unit = ChannelUnit(8, 12)
    views = torch.rand(5, 8, 4, 4)
    unit.norm.eval()
    logits = unit.excite(torch.relu(unit.norm(unit.squeeze(views.mean((2, 3)))))).detach()
    unit(views, None).sum().backward()
    soft = torch.sigmoid(logits / TEMPERATURE)
    hidden = torch.relu(unit.norm(unit.squeeze(views.mean((2, 3))))).detach()
    expected = (soft * (1 - soft) / TEMPERATURE).T @ hidden
    assert unit.excite.weight.grad is not None
    torch.testing.assert_close(unit.excite.weight.grad, expected)
