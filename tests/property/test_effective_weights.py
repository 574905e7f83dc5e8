"""Laws of the mechanism: I2, I9, I33, I38, I39, I41 to I43, I45, I46, I48."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.models import ResNetGenerator
from lightly.models.utils import update_momentum
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from bench.training.lars import LARS
from methods import masking
from methods.masking import Masks
from tests.strategies import (
    PRUNABLE,
    branches,
    effective_weights,
    images,
    loss_of,
    masked_encoder,
    random_masks,
    tiny_encoder,
)

OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "sgd": lambda module: SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2),
    "nesterov": lambda module: SGD(module.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda module: Adam(module.parameters(), lr=0.01, amsgrad=True),
    "adamw": lambda module: AdamW(module.parameters(), lr=0.01, weight_decay=0.1),
    "lars": lambda module: LARS(
        [{"params": list(module.parameters()), "weight_decay": 1e-4, "is_scaled": True}],
        learning_rate=1.0,
        momentum=0.9,
        trust=0.001,
    ),
}


def assert_zero_off_the_mask(encoder: nn.Module, masks: Masks) -> None:
    for name, weight in effective_weights(encoder).items():
        assert not bool(weight[masks[name] == 0].any())
        assert torch.equal(weight[masks[name] == 1], masking.latent(encoder)[name][masks[name] == 1])


@pytest.mark.parametrize("name", OPTIMIZERS)
@given(
    st.integers(0, 99),
    st.booleans(),
    st.sampled_from([1, 4]),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.booleans(),
)
@settings(max_examples=4)
def test_effective_weights_are_zero_off_the_mask_at_every_moment(
    name: str,
    seed: int,
    tied: bool,  # noqa: FBT001
    accumulate: int,
    dtype: torch.dtype,
    channels_last: bool,  # noqa: FBT001
) -> None:
    pair = branches(tied=tied)
    if channels_last:
        for module in (pair.online, pair.target):
            module.to(memory_format=torch.channels_last)
    optimizer = OPTIMIZERS[name](pair.online)
    generator = torch.Generator().manual_seed(seed)
    online, target = (random_masks(pair.online, density, generator) for density in (0.3, 0.6))
    pair.write(online, target=target)
    for step in range(4):
        for _ in range(accumulate):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                loss = loss_of(pair, images(generator, 8))
            loss.backward()
        if step % 2:
            online, target = (random_masks(pair.online, density, generator) for density in (0.3, 0.6))
            pair.write(online, optimizer, target=target)
        optimizer.step()
        assert_zero_off_the_mask(pair.online, online)
        optimizer.zero_grad()
        if not tied:
            update_momentum(pair.online, pair.target, 0.9)
        assert_zero_off_the_mask(pair.online, online)
        assert_zero_off_the_mask(pair.target, target)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("tied", [False, True])
def test_dropped_and_grown_weights_have_no_past(name: str, tied: bool) -> None:  # noqa: FBT001
    """Gradients are zero off the new mask; optimizer state is zero there and where a weight has just grown."""
    pair = branches(tied=tied)
    optimizer = OPTIMIZERS[name](pair.online)
    generator = torch.Generator().manual_seed(3)
    masks = [random_masks(pair.online, density, generator) for density in (0.5, 0.7, 0.4, 0.6)]
    pair.write(masks[0], target=masks[1])
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(pair, images(generator, 8)).backward()
        optimizer.step()
    latents = masking.latent(pair.online)
    touched = {}
    for layer, latent in latents.items():
        # Poison what must be wiped: gradients and state are dense numbers before the rewrite.
        assert latent.grad is not None
        latent.grad.fill_(1.0)
        slots = {
            key: slot
            for key, slot in optimizer.state[latent].items()
            if isinstance(slot, torch.Tensor) and slot.shape == latent.shape
        }
        assert slots
        for slot in slots.values():
            slot.fill_(1.0)
        touched[layer] = slots
    pair.write(masks[2], optimizer, target=masks[3])
    for layer, latent in latents.items():
        before, after = (
            torch.maximum(online[layer], target[layer]) if tied else online[layer]
            for online, target in (masks[:2], masks[2:])
        )
        assert latent.grad is not None
        assert torch.equal(latent.grad, after)
        for slot in touched[layer].values():
            assert torch.equal(slot, before * after)
    assert all(not key.startswith("0") for key in latents)


def test_write_settles_the_optimizer_of_a_single_encoder() -> None:
    encoder = masked_encoder()
    optimizer = OPTIMIZERS["sgd"](encoder)
    generator = torch.Generator().manual_seed(3)
    encoder(images(generator)).square().sum().backward()
    optimizer.step()
    masks = random_masks(encoder, 0.5, generator)
    masking.write(encoder, masks, optimizer)
    for name, latent in masking.latent(encoder).items():
        assert latent.grad is not None
        for values in (latent.grad, optimizer.state[latent]["momentum_buffer"]):
            assert not bool(values[masks[name] == 0].any())
            assert bool(values[masks[name] == 1].any())
    stem = encoder.get_parameter("0.weight")
    assert bool(optimizer.state[stem]["momentum_buffer"].all())


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam"])
def test_a_dropped_latent_stands_still(name: str) -> None:
    """Without weight decay; otherwise it would coast on its momentum, straight into an EMA target."""
    encoder = masked_encoder()
    optimizer = {
        "sgd": SGD(encoder.parameters(), lr=0.1, momentum=0.9),
        "nesterov": OPTIMIZERS["nesterov"](encoder),
        "adam": OPTIMIZERS["adam"](encoder),
    }[name]
    generator = torch.Generator().manual_seed(3)
    masks = masking.read(encoder)
    for step in range(6):
        encoder(images(generator)).square().sum().backward()
        if step == 3:
            masks = random_masks(encoder, 0.5, generator)
            masking.write(encoder, masks, optimizer)
            dropped = {layer: latent.detach().clone() for layer, latent in masking.latent(encoder).items()}
        optimizer.step()
        optimizer.zero_grad()
    for layer, latent in masking.latent(encoder).items():
        off = masks[layer] == 0
        assert torch.equal(latent[off], dropped[layer][off])
        assert bool((latent[~off] != dropped[layer][~off]).all())


def test_weight_decay_acts_on_dropped_latents_too() -> None:
    """The documented policy, as in SyncCP's code."""
    encoder = masked_encoder()
    masking.write(encoder, random_masks(encoder, 0.5, torch.Generator().manual_seed(1)))
    before = {layer: latent.detach().clone() for layer, latent in masking.latent(encoder).items()}
    optimizer = SGD(encoder.parameters(), lr=0.1, weight_decay=0.5)
    encoder(images(torch.Generator())).sum().backward()
    optimizer.step()
    for layer, mask in masking.read(encoder).items():
        off = mask == 0
        assert torch.allclose(masking.latent(encoder)[layer][off], 0.95 * before[layer][off])


def test_gradients_of_kept_weights_are_those_of_the_plain_encoder() -> None:
    encoder = masked_encoder()
    masks = random_masks(encoder, 0.5, torch.Generator().manual_seed(1))
    masking.write(encoder, masks)
    plain = masking.export(encoder)
    views = images(torch.Generator().manual_seed(2))
    for module in (encoder, plain):
        module(views).square().sum().backward()
    for name, mask in masks.items():
        latent, weight = masking.latent(encoder)[name], plain.get_submodule(name).get_parameter("weight")
        assert latent.grad is not None
        assert weight.grad is not None
        assert torch.equal(latent.grad, weight.grad * mask)
    stems = [module.get_parameter("0.weight").grad for module in (encoder, plain)]
    assert torch.equal(torch.as_tensor(stems[0]), torch.as_tensor(stems[1]))


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_dense_run_is_bit_identical_to_one_without_masks(channels_last: bool) -> None:  # noqa: FBT001
    plain, encoder = tiny_encoder(), masked_encoder()
    for module in (plain, encoder):
        if channels_last:
            module.to(memory_format=torch.channels_last)
        optimizer = SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
        for step in range(5):
            module(images(torch.Generator().manual_seed(step))).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert masking.weights_digest(masking.export(encoder)) == masking.weights_digest(plain)


@pytest.mark.parametrize("kind", ["tiny", "lightly"])
def test_export_is_a_plain_module_with_zeros_baked_in(kind: str) -> None:
    def build() -> nn.Module:
        return tiny_encoder() if kind == "tiny" else ResNetGenerator("resnet-9", width=0.0625)

    encoder = build()
    masking.install(encoder)
    masks = random_masks(encoder, 0.4, torch.Generator().manual_seed(1))
    masking.write(encoder, masks)
    encoder.eval()
    views = torch.randn(2, 3, 32, 32)
    expected = encoder(views)
    plain, never_masked = masking.export(encoder), build()
    assert list(plain.state_dict()) == list(never_masked.state_dict())
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in never_masked.named_parameters()]
    assert [type(module) for module in plain.modules()] == [type(module) for module in never_masked.modules()]
    never_masked.load_state_dict(plain.state_dict())
    assert torch.equal(plain(views), expected)
    assert torch.equal(never_masked.eval()(views), expected)
    for name, mask in masks.items():
        weight = plain.get_submodule(name).get_parameter("weight")
        assert torch.equal(weight != 0, mask == 1)
        assert not bool(torch.signbit(weight[mask == 0]).any())
    # The original still trains, and shares nothing with its copy.
    before = masking.weights_digest(plain)
    encoder.train()(views).sum().backward()
    SGD(encoder.parameters(), lr=1.0).step()
    assert masking.weights_digest(plain) == before
    assert_zero_off_the_mask(encoder, masks)


@given(st.integers(0, 99), st.integers(1, 3))
@settings(max_examples=10)
def test_a_checkpoint_holds_the_live_masks(seed: int, updates: int) -> None:
    """After any number of updates, through plain `state_dict`, right after loading."""
    encoder, fresh = masked_encoder(0), masked_encoder(1)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(updates):
        masks = random_masks(encoder, 0.4, generator)
        masking.write(encoder, masks)
    fresh.load_state_dict({name: value.clone() for name, value in encoder.state_dict().items()})
    assert masking.digest(fresh) == masking.digest(encoder)
    assert_zero_off_the_mask(fresh, masks)
    for name, weight in effective_weights(fresh).items():
        assert torch.equal(weight, effective_weights(encoder)[name])
    assert masking.counts(fresh) == {name: int(mask.sum()) for name, mask in masks.items()}


def test_a_checkpoint_without_masks_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"Missing key.*parametrizations.weight.0.mask"):
        masked_encoder().load_state_dict(tiny_encoder().state_dict())


def test_masks_survive_a_change_of_dtype() -> None:
    encoder = masked_encoder()
    masks = random_masks(encoder, 0.5, torch.Generator().manual_seed(1))
    masking.write(encoder, masks)
    digest = masking.digest(encoder)
    encoder.double()
    assert masking.digest(encoder) == digest
    assert all(mask.dtype == torch.float32 for mask in masking.read(encoder).values())
    assert_zero_off_the_mask(encoder, masks)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ones", [0, 257, 2**24 + 1])
def test_ones_are_counted_exactly(dtype: torch.dtype, ones: int) -> None:
    """A sum in single precision would lose the last of 2^24 + 1, one in bfloat16 that of 257."""
    assert masking._ones(torch.ones(1, dtype=dtype).expand(ones)) == ones


def test_layers_that_were_found_once_see_every_change() -> None:
    encoder = masked_encoder()
    layers = masking.Layers(encoder)
    for step in range(3):
        before = layers.version
        masking.write(encoder, random_masks(encoder, 0.5, torch.Generator().manual_seed(step)))
        assert layers.version > before
        assert layers.version == masking.version(encoder)
        assert layers.counts() == {path: int(mask.sum()) for path, mask in masking.read(encoder).items()}
    dense = [layers.has_dense_gradient]
    for enabled in (True, False):
        masking.watch(encoder, enabled=enabled)
        dense.append(layers.has_dense_gradient)
    masking.let_straight(encoder)
    assert [*dense, layers.has_dense_gradient] == [False, True, False, True]


def test_a_deep_copy_has_masks_of_its_own() -> None:
    encoder = masked_encoder()
    masks = random_masks(encoder, 0.5, torch.Generator().manual_seed(1))
    masking.write(encoder, masks)
    replica = copy.deepcopy(encoder)
    masking.write(encoder, {name: torch.ones_like(mask) for name, mask in masks.items()})
    assert_zero_off_the_mask(replica, masks)
    assert all(bool(weight.all()) for weight in effective_weights(encoder).values())


def test_the_target_keeps_its_own_mask_and_the_average_of_dense_latents() -> None:
    """The mask gap of a target is real: what it keeps beyond the online mask does not decay to nothing."""
    pair = branches(tied=False)
    generator = torch.Generator().manual_seed(5)
    online = random_masks(pair.online, 0.2, generator)
    target = {name: torch.ones_like(mask) for name, mask in online.items()}
    pair.write(online, target=target)
    latents = {name: latent.detach().clone() for name, latent in masking.latent(pair.online).items()}
    for _ in range(200):
        update_momentum(pair.online, pair.target, 0.9)
    for name, weight in effective_weights(pair.target).items():
        assert torch.allclose(weight, latents[name])
    assert_zero_off_the_mask(pair.online, online)


def test_digests_tell_contents_not_layout() -> None:
    encoder = masked_encoder()
    masking.write(encoder, random_masks(encoder, 0.5, torch.Generator().manual_seed(1)))
    masks, weights = masking.digest(encoder), masking.weights_digest(encoder)
    encoder.to(memory_format=torch.channels_last)
    assert (masking.digest(encoder), masking.weights_digest(encoder)) == (masks, weights)
    changed = masking.read(encoder)
    changed["7"].view(-1)[5] = 1 - changed["7"].view(-1)[5]
    masking.write(encoder, changed)
    assert masking.digest(encoder) != masks
    with torch.no_grad():
        masking.latent(encoder)["3"][0, 0, 0, 0] += 1e-6
    assert masking.weights_digest(encoder) != weights


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda masks: masks.pop("6"), r"different layers: \['6'\]"),
        (lambda masks: masks.update({"9": torch.ones(1)}), r"different layers: \['9'\]"),
        (lambda masks: masks.update({"6": torch.ones(8, 4, 3, 1)}), r"6: a mask of shape \(8, 4, 3, 1\)"),
        (
            lambda masks: masks.update({"6": torch.ones(8, 4, 1, 3).double()}),
            r"6: a mask is float32 or bool, not torch.float64",
        ),
        (lambda masks: masks["7"].fill_(0.5), "7: a mask's entries are 0 or 1"),
        (lambda masks: masks["7"].fill_(float("nan")), "7: a mask's entries are 0 or 1"),
    ],
)
def test_wrong_masks_raise_and_nothing_is_written(spoil: Callable[[Masks], object], message: str) -> None:
    encoder = masked_encoder()
    before = masking.digest(encoder)
    masks = {name: torch.zeros_like(mask) for name, mask in masking.read(encoder).items()}
    spoil(masks)
    with pytest.raises(ValueError, match=message):
        masking.write(encoder, masks)
    assert masking.digest(encoder) == before


def test_bool_masks_are_written_as_numbers() -> None:
    encoder, other = masked_encoder(), masked_encoder()
    masks = random_masks(encoder, 0.4, torch.Generator().manual_seed(0))
    masking.write(encoder, {name: mask.bool() for name, mask in masks.items()})
    masking.write(other, masks)
    assert masking.digest(encoder) == masking.digest(other)
    assert all(torch.equal(mask, masks[name]) for name, mask in masking.read(encoder).items())


def test_installing_twice_or_nowhere_raises() -> None:
    with pytest.raises(ValueError, match="3 is masked already"):
        masking.install(masked_encoder())
    with pytest.raises(ValueError, match="no prunable layer"):
        masking.install(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2)))


def test_install_keeps_the_parameters_of_the_optimizer() -> None:
    encoder = tiny_encoder()
    before = {id(parameter) for parameter in encoder.parameters()}
    masking.install(encoder, ["3"])
    assert {id(parameter) for parameter in encoder.parameters()} == before
    assert list(masking.read(encoder)) == ["3"]
    assert PRUNABLE[0] == "3"
