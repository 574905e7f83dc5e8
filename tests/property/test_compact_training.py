"""Laws of compact training (I75 to I79): without the filters that are gone, every step is the masked one."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.flop_counter import FlopCounterMode

from bench.config.run import EncoderSpec, OptimizerSpec
from bench.frameworks import FRAMEWORKS, Framework, Wiring
from bench.training import encoders
from bench.training.compaction import Compaction
from bench.training.optimizers import OPTIMIZERS
from methods import METHODS, macs, masking
from methods.compaction import computed
from methods.compaction.training import CompactForward
from methods.masking import Masks
from methods.method import SparseMethod
from tests import tiny
from tests.strategies import branches, masked_encoder, setting_of, tiny_encoder, train

SETTINGS = settings(max_examples=6)
SPECS = st.sampled_from(
    [
        EncoderSpec(name="resnet-9", width=0.125),
        EncoderSpec(name="resnet-9", width=0.07),
        EncoderSpec(name="resnet-18", width=0.0625),
        EncoderSpec(name="resnet-50", width=0.03125),
        EncoderSpec(name="resnet-18", width=0.125, stem="imagenet"),
    ]
)
PAIRS = st.sampled_from(["simclr", "byol", "moco"])
DENSITIES = st.sampled_from([0.05, 0.25, 0.5, 0.8])
SEEDS = st.integers(0, 10_000)
VECTORS = st.sampled_from([1, 8])
SIDE, BATCH = 9, 6  # maps of odd sides: borders on all


@contextmanager
def vectors_of(floats: int) -> Iterator[None]:
    """Small encoders have few channels: most would be filled up."""
    with mock.patch.object(computed, "VECTOR", floats):
        yield


def filters(encoder: nn.Module, density: float, generator: torch.Generator) -> Masks:
    """Each filter by chance, and at least one."""
    masks = {}
    for name, mask in masking.read(encoder).items():
        drawn = (torch.rand(len(mask), generator=generator) < density).float()
        drawn[int(torch.randint(len(mask), (), generator=generator))] = 1.0
        masks[name] = drawn.reshape(-1, 1, 1, 1).expand_as(mask).contiguous()
    return masks


def stirred(encoder: nn.Module, generator: torch.Generator) -> None:
    """Give normalisations shifts: after a ramp, constants are what was learnt before."""
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.data.normal_(std=0.3, generator=generator)


def optimizer_of(name: str, framework: Framework) -> Optimizer:
    trust = 0.02 if name == "lars" else None
    spec = OptimizerSpec(
        name=name, learning_rate=0.02, weight_decay=1e-2, batch_images=BATCH, epochs=1, trust_coefficient=trust
    )
    return OPTIMIZERS[name](spec, framework)


def framework_of(pair: str, spec: EncoderSpec, seed: int) -> Framework:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder, features = encoders.build(spec)
        masking.install(encoder)
        wiring = Wiring(own_statistics=bool(seed % 2))  # as two different masks need
        framework = FRAMEWORKS[pair](encoder, features, tiny.FRAMEWORKS[pair], wiring).double()
        framework.get_submodule("criterion").float()  # its queue too
        return framework


def views(seed: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(100 * seed + step)
    one, other = torch.randn(2, BATCH, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    return one, other, torch.zeros(BATCH, dtype=torch.int64)


def stepped(framework: Framework, optimizer: Optimizer, seed: int, step: int) -> float:
    loss = framework.loss(*views(seed, step))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    framework.update_target(step, 10)
    return loss.item()


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


@SETTINGS
@given(SPECS, PAIRS, st.sampled_from(["sgd", "lars"]), DENSITIES, SEEDS, VECTORS)
def test_losses_weights_statistics_and_momentum_are_those_of_masked_training(
    spec: EncoderSpec, pair: str, name: str, density: float, seed: int, floats: int
) -> None:
    """Dense first, so that dead channels have shifts, and their weights a momentum; then with filters alone."""
    generator = torch.Generator().manual_seed(seed)
    masked = framework_of(pair, spec, seed)
    stirred(masked, generator)
    optimizer = optimizer_of(name, masked)
    stepped(masked, optimizer, seed, 0)
    masks = [filters(masked.online, density, generator) for _ in range(2)]
    masked.branches.write(masks[0], optimizer, target=masks[seed % 2])
    compact = copy.deepcopy(masked)
    own = optimizer_of(name, compact)
    own.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    with vectors_of(floats):
        compaction = Compaction(compact.branches, 1)
        compaction.before_forward(1)
    for step in range(1, 4):
        assert stepped(compact, own, seed, step) == pytest.approx(stepped(masked, optimizer, seed, step), rel=1e-5)
    compaction.release()
    expected = masked.state_dict()
    for path, tensor in compact.state_dict().items():
        assert_close(tensor, expected[path])
    for weight, other in zip(compact.parameters(), masked.parameters(), strict=True):
        state = optimizer.state.get(other, {})
        assert own.state.get(weight, {}).keys() == state.keys()
        for key, value in state.items():
            assert_close(own.state[weight][key], value)
    images = views(seed, 9)[0]
    assert_close(compact.online.eval()(images), masked.online.eval()(images))


@SETTINGS
@given(SPECS, PAIRS, DENSITIES, SEEDS, VECTORS)
def test_both_branches_compute_as_much_as_is_said_and_features_keep_their_places(
    spec: EncoderSpec, pair: str, density: float, seed: int, floats: int
) -> None:
    """Shifts are 0, as under masks that never change: no constants to carry."""
    framework, images = framework_of(pair, spec, seed), views(seed, 0)[0]
    masks = filters(framework.online, density, torch.Generator().manual_seed(seed))
    framework.branches.write(masks)
    dense = macs.inference_macs(framework.online, (3, SIDE, SIDE))
    with vectors_of(floats):
        said = CompactForward(framework.online).macs(dense)
        expected = [encoder(images) for encoder in (framework.online, framework.target)]
        Compaction(framework.branches, 0).before_forward(0)
    for encoder, features in zip((framework.online, framework.target), expected, strict=True):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            found = encoder(images)
        assert counter.get_total_flops() == 2 * BATCH * said
        assert_close(found, features)
    kept = sum(macs.effective_macs(framework.online, dense).values())
    assert floats > 1 or said <= 1.02 * kept + 16**2 * BATCH  # inputs go too; what puts features in their places stays


def test_the_rates_of_a_network_of_some_size() -> None:
    encoder, _ = encoders.build(EncoderSpec(name="resnet-18", width=0.5))
    masking.install(encoder)
    dense = macs.inference_macs(encoder, (3, 32, 32))
    for density, most in ((0.5, 0.42), (0.25, 0.2)):
        masks = {
            name: (torch.randperm(len(mask), generator=torch.Generator().manual_seed(0)) < density * len(mask))
            .float()
            .reshape(-1, 1, 1, 1)
            .expand_as(mask)
            .contiguous()
            for name, mask in masking.read(encoder).items()
        }
        masking.write(encoder, masks)
        assert CompactForward(encoder).macs(dense) < most * sum(dense.values())


@SETTINGS
@given(DENSITIES, SEEDS)
def test_biases_and_groups_and_an_evaluation_in_between(density: float, seed: int) -> None:
    """A convolution with a bias makes a constant that is not 0; one in groups reads all channels."""
    masked = masked_encoder(seed).double()
    generator = torch.Generator().manual_seed(seed)
    stirred(masked, generator)
    masking.write(masked, filters(masked, density, generator))
    compact = copy.deepcopy(masked)
    images = views(seed, 0)[0]
    with vectors_of(1):
        CompactForward(compact).engage()
    for encoder in (masked, compact):
        encoder(images).square().sum().backward()
    for own, other in zip(compact.parameters(), masked.parameters(), strict=True):
        assert own.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-5, atol=1e-5)
    assert torch.equal(compact.eval()(images), masked.eval()(images)) or density == 0.05
    for path, tensor in compact.state_dict().items():
        assert_close(tensor, masked.state_dict()[path])


def test_masks_that_are_written_afterwards_are_an_error() -> None:
    encoder = masked_encoder()
    CompactForward(encoder).engage()
    masking.write(encoder, masking.read(encoder))
    with pytest.raises(RuntimeError, match="masks were written after the filters"):
        encoder(torch.zeros(2, 3, 8, 8))


def test_a_normalisation_without_a_shift_cannot_be_followed() -> None:
    encoder = tiny_encoder()
    masking.install(encoder)
    encoder.register_module("1", nn.BatchNorm2d(4, affine=False))
    with pytest.raises(ValueError, match="1: only batch normalisation with scale, shift and a momentum"):
        CompactForward(encoder)


FINAL = [name for name in METHODS if METHODS[name](setting_of(name)).final_from(20) is not None]


def test_only_methods_that_bring_nothing_back_say_that_masks_are_final() -> None:
    ramps = {name for name in METHODS if name.startswith("gradual")}
    assert set(FINAL) == {"static_erk", "static_uniform", "one_shot", "group_lasso"} | ramps


@pytest.mark.parametrize("name", FINAL)
def test_no_mask_is_written_from_the_step_on_that_a_method_names(name: str) -> None:
    method: SparseMethod = METHODS[name](setting_of(name))
    first = method.final_from(20)
    assert first is not None
    pair = branches(tied=False)
    method.attach(pair, 20)
    optimizer = torch.optim.SGD(pair.online.parameters(), lr=0.1)
    behind = [
        masking.version(pair.online) + masking.version(pair.target)
        for _ in train(method, pair, optimizer, steps=range(20))
    ]
    seen = behind[max(0, first - 1) :]
    assert len(set(seen)) == 1
    assert first < 2 or seen[0] != behind[first - 2]
