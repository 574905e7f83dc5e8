"""Laws of gated convolutions (I52 to I61) and what their accounting adds up to."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from bench.config.run import EncoderSpec
from bench.training import encoders
from methods import GATES, GateSetting, masking
from methods.branches import Branches
from methods.gating.convolution import GatedConv2d, Partition, block_convolutions, install
from methods.gating.dual import PENALTY
from methods.gating.gate import ALL_ON, Gate
from methods.gating.layer import gated
from methods.gating.measure import Budget, observe
from methods.gating.skipping import Skipping
from tests.strategies import GATE_PAIRS

LAYERS = st.tuples(
    st.sampled_from([1, 2, 4]),  # groups
    st.sampled_from([1, 2]),  # slice
    st.sampled_from(["blocks", "first"]),
    st.integers(1, 2),  # stride
    st.integers(0, 10_000),
)
FEW = settings(max_examples=12)


@pytest.mark.parametrize(("groups", "limit"), [(2, 1.971), (4, 3.833)])
def test_how_far_gates_reach_in_resnet_18(groups: int, limit: float) -> None:
    """Without the gates' own operations: two groups, as in the author's scripts, do not reach the reported 2.25."""
    with torch.device("meta"):
        encoder, _ = encoders.build(EncoderSpec(name="resnet-18", width=1.0))
        masking.install(encoder)
        install(encoder, groups=groups)
    assert Budget.of(encoder, (3, 32, 32)).reduction(1 / groups, 0) == pytest.approx(limit, abs=5e-4)


def gated_layer(
    groups: int = 4, size: int = 1, partition: Partition = "blocks", stride: int = 1, seed: int = 0
) -> GatedConv2d:
    """A layer of 8 -> 16 channels with running statistics of its own data."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        conv = nn.Conv2d(8, 16, 3, stride=stride, padding=1, bias=seed % 2 == 0)
        layer = GatedConv2d(conv, Gate(16, size), groups=groups, partition=partition)
        with torch.no_grad():
            layer.gate.deviation.normal_(std=0.2)
        for _ in range(3):
            layer(maps(seed))
    return layer.eval()


def maps(seed: int, count: int = 4, side: int = 6) -> Tensor:
    return torch.randn(count, 8, side, side, generator=torch.Generator().manual_seed(seed))


def gates_of(layer: GatedConv2d, images: Tensor) -> Tensor:
    layer.notes = []
    with torch.no_grad():
        layer(images)
    (note,) = layer.notes
    layer.notes = None
    return note.gates


def aimed(layer: GatedConv2d, aim: float) -> GatedConv2d:
    layer.gate.aim.fill_(aim)
    return layer


def encoder(seed: int = 0) -> nn.Module:
    """A stem and two 3x3 convolutions that are gated, with a 1x1 between them that is not; 8x8 images."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        plain = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 1, bias=False),
            nn.Conv2d(16, 16, 3, stride=2, padding=1, bias=False),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
    masking.install(plain)
    return plain


def pair(*, tied: bool) -> Branches:
    online = encoder()
    if tied:
        return Branches(online, masking.twin(online, own_statistics=True), tied=True)
    return Branches(online, copy.deepcopy(online).requires_grad_(requires_grad=False), tied=False)


@FEW
@given(LAYERS)
def test_base_and_rest_partition_the_weights(drawn: tuple[int, int, Partition, int, int]) -> None:
    layer = gated_layer(*drawn)
    weight, mask = layer.conv.weight, layer.base_mask()
    assert int(mask.sum()) * layer.groups == weight.numel()
    images = maps(1)
    convolved = functional.conv2d(images, weight * mask, layer.conv.bias, layer.conv.stride, layer.conv.padding)
    torch.testing.assert_close(layer.base(images), convolved)


@FEW
@given(LAYERS)
def test_all_gates_on_is_dense_and_all_off_is_the_base_path(drawn: tuple[int, int, Partition, int, int]) -> None:
    layer, images = gated_layer(*drawn), maps(2)
    assert torch.equal(aimed(layer, ALL_ON)(images), layer.conv(images))
    assert torch.equal(aimed(layer, -ALL_ON)(images), layer.base(images))


@FEW
@given(LAYERS, st.floats(-2, 2), st.floats(0, 1))
def test_a_higher_threshold_opens_no_gate(drawn: tuple[int, int, Partition, int, int], aim: float, more: float) -> None:
    layer, images = gated_layer(*drawn), maps(3)
    before = gates_of(aimed(layer, aim), images)
    assert not (gates_of(aimed(layer, aim + more), images) & ~before).any()


@FEW
@given(LAYERS)
def test_a_slice_shares_its_gate(drawn: tuple[int, int, Partition, int, int]) -> None:
    layer, images = aimed(gated_layer(*drawn), 0.0), maps(4)
    gates, size = gates_of(layer, images), layer.gate.slice_channels
    wide = gates.repeat_interleave(size, dim=1)
    assert torch.equal(layer(images), torch.where(wide, layer.conv(images), layer.base(images)))


def test_gates_depend_on_the_image() -> None:
    layer = aimed(gated_layer(), 0.0)
    assert not torch.equal(gates_of(layer, maps(5)), gates_of(layer, maps(6)))
    rates = [float(gates_of(aimed(layer, aim), maps(5)).float().mean()) for aim in (-1.0, 0.0, 1.0)]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == 3


@FEW
@given(LAYERS)
def test_a_gate_does_not_depend_on_the_other_images_of_a_batch(drawn: tuple[int, int, Partition, int, int]) -> None:
    layer, images = aimed(gated_layer(*drawn), 0.1), maps(7)
    alone = torch.cat([gates_of(layer, image[None]) for image in images])
    assert float((gates_of(layer, images) == alone).float().mean()) > 0.995  # up to rounding at the threshold


def test_thresholds_get_gradients_from_the_loss_and_the_penalty() -> None:
    branches = pair(tied=True)
    method = GATES["dual_gate"](GateSetting(reduction=1.5, seed=0))
    method.attach(branches, 10)
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    (branches.online(images).square().mean() + branches.target(images).square().mean()).backward()
    for encoder_ in (branches.online, branches.target):
        for layer in gated(encoder_).values():
            deviation = layer.get_parameter("gate.deviation")
            assert deviation.grad is not None
            assert bool(deviation.grad.any())
            with torch.no_grad():
                deviation.normal_()
            deviation.grad = None
    method.penalty().backward()
    for layer in gated(branches.target).values():
        deviation = layer.get_parameter("gate.deviation")
        assert deviation.grad is not None
        torch.testing.assert_close(deviation.grad / PENALTY, 2 * deviation.detach())


def test_the_step_has_the_sigmoids_derivative() -> None:
    gate = Gate(2, 1).eval()
    base = torch.tensor([-1.0, 0.5]).reshape(1, 2, 1, 1).requires_grad_()
    gates = gate(base)
    assert gates.flatten().tolist() == [0.0, 1.0]
    gates.sum().backward()
    soft = torch.sigmoid(2 * base.detach() / (1 + 1e-5) ** 0.5)
    assert base.grad is not None
    torch.testing.assert_close(base.grad, 2 * soft * (1 - soft), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_moving_the_thresholds_of_one_branch_leaves_the_other_alone(*, tied: bool) -> None:
    branches = pair(tied=tied)
    GATES["dual_gate"](GateSetting(reduction=1.5, seed=0)).attach(branches, 10)
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    branches.online.eval(), branches.target.eval()
    before = branches.online(images)
    for layer in gated(branches.target).values():
        layer.get_buffer("gate.aim").fill_(3.0)
        layer.get_buffer("gate.normalisation.running_mean").fill_(1.0)
    assert torch.equal(branches.online(images), before)


@FEW
@given(st.floats(-1.5, 1.5), st.sampled_from([2, 4]), st.sampled_from([1, 2]))
def test_macs_follow_the_rate_and_are_averaged_over_all_images(aim: float, groups: int, size: int) -> None:
    subject = encoder()
    install(subject, groups=groups, slice_channels=size)
    for layer in gated(subject).values():
        layer.get_buffer("gate.aim").fill_(aim)
    generator = torch.Generator().manual_seed(1)
    images = torch.cat([torch.randn(300, 3, 8, 8, generator=generator), torch.zeros(5, 3, 8, 8)])  # an odd last batch
    budget, seen = Budget.of(subject, (3, 8, 8)), observe(subject, subject, images)
    dense = {"3": 8 * 8 * 9 * 64, "7": 16 * 16 * 9 * 16}
    assert budget.layers == dense
    assert budget.dense == sum(dense.values()) + 3 * 8 * 9 * 64 + 8 * 16 * 64
    first = subject.get_submodule("3")
    assert isinstance(first, GatedConv2d)
    first.notes = []
    with torch.no_grad():
        subject.eval()(images)
    rate = float(first.notes[0].gates.float().mean())
    assert seen.online.rates["3"] == pytest.approx(rate, rel=1e-6)
    for path, share in seen.online.shares.items():
        assert share == pytest.approx(1 / groups + (1 - 1 / groups) * seen.online.rates[path], rel=1e-6)
        assert 1 / groups <= share <= 1
    overhead = sum(elements * (2 / size + (size > 1)) for elements in (8 * 64, 16 * 16))
    assert seen.online.overhead_macs == overhead
    share = seen.online.share(budget)
    assert budget.wanted_share(budget.reduction(share, 100), 100) == pytest.approx(share)
    assert set(seen.agreement.values()) == {1.0}


def test_agreement_is_that_of_the_two_branches() -> None:
    first, second = encoder(), encoder()
    for subject, aim in ((first, 0.0), (second, 99.0)):  # about half of the gates are on, and none
        install(subject, groups=2)
        for layer in gated(subject).values():
            layer.get_buffer("gate.aim").fill_(aim)
    seen = observe(first, second, torch.randn(70, 3, 8, 8, generator=torch.Generator().manual_seed(1)))
    for path, agreement in seen.agreement.items():
        assert 0.1 < seen.online.rates[path] < 0.9
        assert agreement == pytest.approx(1 - seen.online.rates[path])
    assert set(seen.target.rates.values()) == {0.0}


def test_observing_changes_nothing() -> None:
    branches = pair(tied=True)
    GATES["single_gate"](GateSetting(reduction=1.5, seed=0)).attach(branches, 10)
    state = {name: value.clone() for name, value in branches.target.state_dict().items()}
    random = torch.get_rng_state()
    observe(branches.online, branches.target, torch.ones(3, 3, 8, 8))
    assert all(torch.equal(value, state[name]) for name, value in branches.target.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert branches.online.training


def test_shares_are_asked_for_where_somebody_counts_them() -> None:
    """In training, and while notes are collected; a pass that only scores pays nothing for them."""
    subject = encoder()
    install(subject, groups=2)
    (layer, *_) = gated(subject).values()
    asked: list[bool] = []

    def shares() -> Tensor:
        asked.append(layer.training)
        return torch.ones(2)

    gates = torch.ones(2, 1)
    layer.train().note(gates, shares, overhead_macs=0)
    layer.eval().note(gates, shares, overhead_macs=0)
    layer.notes = []
    layer.note(gates, shares, overhead_macs=0)
    assert asked == [True, False]
    assert len(layer.notes) == 1
    assert layer.tally.tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    ("groups", "size", "message"),
    [
        (3, 1, r"3: 8 -> 8 channels do not split into 3 groups. Use fewer groups"),
        (4, 4, r"3: slices of 4 channels do not fit 8 output channels in 4 groups. Use thinner slices"),
    ],
)
def test_channels_that_do_not_divide_are_refused(groups: int, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        install(encoder(), groups=groups, slice_channels=size)


def test_maps_of_one_pixel_are_gated_too() -> None:
    layer = gated_layer()
    layer.train()
    layer(maps(0, side=1))
    with pytest.raises(ValueError, match="one image with a 1x1 map: use a batch of at least 2"):
        layer(maps(0, count=1, side=1))
    layer.eval()
    layer(maps(0, count=1, side=1))


def test_stem_and_shortcuts_are_not_gated() -> None:
    assert block_convolutions(encoder()) == ("3", "7")


@FEW
@given(LAYERS, st.floats(-1, 2))
def test_skipping_gives_what_masking_gives(drawn: tuple[int, int, Partition, int, int], aim: float) -> None:
    layer, images = aimed(gated_layer(*drawn), aim), maps(8, side=5)
    with torch.no_grad():
        torch.testing.assert_close(Skipping(layer)(images), layer(images))


def test_skipping_is_for_inference() -> None:
    with pytest.raises(ValueError, match=r"call `.eval\(\)` first"):
        Skipping(gated_layer().train())


@pytest.mark.parametrize(("name", "tied"), GATE_PAIRS)
def test_the_branches_keep_their_parameters_in_the_same_order(name: str, *, tied: bool) -> None:
    branches = pair(tied=tied)
    GATES[name](GateSetting(reduction=1.5, seed=0)).attach(branches, 10)
    names = [[key for key, _ in encoder_.named_parameters()] for encoder_ in (branches.online, branches.target)]
    assert names[0] == names[1]
    trained = {id(each) for each in branches.target.parameters() if each.requires_grad}
    assert tied or trained <= {id(each) for each in branches.online.parameters()}


@pytest.mark.parametrize("reduction", [2.9, 1.0001])
def test_a_reduction_out_of_reach_states_the_limit(reduction: float) -> None:
    method = GATES["dual_gate"](GateSetting(reduction=reduction, seed=0))
    method.attach(pair(tied=True), 10)
    images = torch.randn(4, 3, 8, 8)
    if reduction > 2:
        with pytest.raises(
            ValueError, match=r"a reduction of 2.90 is out of reach: .* more than 0.\d\d and less than 2.\d\d"
        ):
            method.hold_out(images)
    else:
        method.hold_out(images)
    with pytest.raises(ValueError, match=r"there are none. Set held_out_images"):
        method.hold_out(images[:0])
