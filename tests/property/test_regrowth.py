"""Laws of prune-and-regrow: I28, I30 to I36."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from methods import masking
from methods.exchange import exchange
from methods.scores import gradient_magnitude
from tests.strategies import branches, images, loss_of, masked_encoder, random_masks, scores


@st.composite
def layers(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """A mask, strengths and growth scores of one shape."""
    strength = draw(scores())
    entries = st.lists(st.integers(0, 1), min_size=strength.numel(), max_size=strength.numel())
    mask = torch.tensor(draw(entries), dtype=torch.float32).reshape(strength.shape)
    growth = torch.randint(
        0, draw(st.sampled_from([1, 3, 100])), strength.shape, generator=torch.Generator().manual_seed(5)
    ).float()
    return mask, strength, growth


@given(layers(), st.floats(0.0, 1.0))
def test_update_keeps_the_count_and_the_form(layer: tuple[Tensor, Tensor, Tensor], fraction: float) -> None:
    mask = layer[0]
    after = exchange(*layer, fraction)
    assert int(after.sum()) == int(mask.sum())
    assert after.dtype == torch.float32
    assert after.shape == mask.shape
    assert after.is_contiguous()
    assert set(after.unique().tolist()) <= {0.0, 1.0}


@given(layers(), st.floats(0.0, 1.0))
def test_the_weakest_active_go_and_the_strongest_inactive_come(
    layer: tuple[Tensor, Tensor, Tensor], fraction: float
) -> None:
    mask, strength, growth = (entry.reshape(-1).tolist() for entry in layer)
    after = exchange(*layer, fraction).reshape(-1).tolist()
    active = [index for index, entry in enumerate(mask) if entry]
    exchanged = math.floor(fraction * len(active))
    kept = sorted(active, key=lambda index: (-strength[index], index))[: len(active) - exchanged]
    rest = [index for index in range(len(mask)) if index not in kept]
    grown = sorted(rest, key=lambda index: (-growth[index], index))[:exchanged]
    assert [index for index, entry in enumerate(after) if entry] == sorted(kept + grown)
    assert len(grown) == exchanged


@given(layers())
def test_fraction_zero_changes_nothing(layer: tuple[Tensor, Tensor, Tensor]) -> None:
    mask = layer[0]
    after = exchange(*layer, 0.0)
    assert torch.equal(after, mask)
    assert after.data_ptr() != mask.data_ptr()


@given(layers(), st.floats(0.0, 1.0))
def test_stale_values_of_inactive_weights_do_not_matter(layer: tuple[Tensor, Tensor, Tensor], fraction: float) -> None:
    mask, strength, growth = layer
    stale = torch.where(mask == 0, strength + 1000.0, strength)
    assert torch.equal(exchange(mask, stale, growth, fraction), exchange(mask, strength, growth, fraction))


def test_growth_of_a_full_layer_brings_the_same_weights_back() -> None:
    full = torch.ones(3, 4)
    assert torch.equal(exchange(full, torch.rand(3, 4), torch.rand(3, 4), 0.5), full)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_fractions_outside_the_unit_interval_raise(fraction: float) -> None:
    with pytest.raises(ValueError, match="cannot exchange a fraction"):
        exchange(torch.ones(2, 2), torch.ones(2, 2), torch.ones(2, 2), fraction)


def test_a_non_finite_gradient_raises() -> None:
    growth = torch.full((4, 4), float("inf"))
    with pytest.raises(ValueError, match="not finite"):
        exchange(torch.eye(4), torch.ones(4, 4), growth, 0.5)


@pytest.mark.parametrize("channels_last", [False, True])
def test_dense_gradient_is_the_finite_difference_also_off_the_mask(channels_last: bool) -> None:  # noqa: FBT001
    """The masked gradient is exactly 0 there, and growth on it would be inert."""
    encoder = masked_encoder().double().eval()
    if channels_last:
        encoder = encoder.to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(2)
    masks = random_masks(encoder, 0.3, generator)
    masking.write(encoder, masks)
    views = images(generator).double()
    masking.watch(encoder, enabled=True)
    encoder(views).square().sum().backward()
    growth = masking.dense_gradient(encoder)
    masking.watch(encoder, enabled=False)
    plain = masking.export(encoder)
    for name, mask in masks.items():
        inactive = (mask == 0).nonzero()
        masked_gradient = masking.latent(encoder)[name].grad
        assert masked_gradient is not None
        assert not bool(masked_gradient[mask == 0].any())
        assert torch.equal(masked_gradient[mask == 1], growth[name][mask == 1])
        assert float((growth[name][mask == 0] != 0).double().mean()) > 0.5
        weight = plain.get_submodule(name).get_parameter("weight")
        for index in inactive[:: max(1, len(inactive) // 4)].tolist():
            position = tuple(index)
            moved = []
            for shift in (1e-5, -1e-5):
                with torch.no_grad():
                    weight[position] = shift
                    moved.append(float(plain(views).square().sum()))
                    weight[position] = 0.0
            slope = (moved[0] - moved[1]) / 2e-5
            assert slope == pytest.approx(float(growth[name][position]), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_watching_changes_no_bit(layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(8)
    plain = masked_encoder().to(memory_format=layout)
    masks = random_masks(plain, 0.3, generator)
    masking.write(plain, masks)
    watched = copy.deepcopy(plain)
    masking.watch(watched, enabled=True)
    views = images(generator, 8)
    for encoder in (plain, watched):
        for path in masks:
            layer = encoder.get_submodule(path)
            latent = layer.get_parameter("parametrizations.weight.original")
            product = layer.weight
            assert isinstance(product, Tensor)
            assert bool((product.signbit() & (product == 0)).any())  # a product of 0 with what is negative is -0
            assert torch.equal(product.signbit(), latent.signbit())
        encoder(views).square().sum().backward()
    for path, latent in masking.latent(plain).items():
        gradient, other = latent.grad, masking.latent(watched)[path].grad
        assert gradient is not None
        assert other is not None
        assert torch.equal(gradient, other)
        assert torch.equal(gradient.signbit(), other.signbit())
        assert gradient.stride() == other.stride()


def test_watching_goes_on_where_the_module_moves_and_counts_no_step_twice() -> None:
    encoder = masked_encoder()
    views = images(torch.Generator().manual_seed(3), 8)
    found = []
    layouts = (torch.channels_last, torch.contiguous_format, torch.contiguous_format)
    for kind, layout in zip((torch.float32, torch.float32, torch.float64), layouts, strict=True):
        encoder.to(kind).to(memory_format=layout)
        masking.watch(encoder, enabled=True)
        encoder.eval()(views.to(kind)).square().sum().backward()
        with torch.no_grad():
            encoder(views.to(kind))  # of which there is no gradient
        found.append(masking.dense_gradient(encoder))
        strides = _strides(encoder)
        masking.watch(encoder, enabled=False)
        assert strides == _strides(encoder)
        encoder(views.to(kind)).square().sum().backward()
    for path, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][path], rtol=1e-4, atol=1e-6)
        assert found[2][path].dtype == torch.float64
        assert torch.allclose(found[2][path], gradient.double(), rtol=1e-3, atol=1e-5)


def test_dense_gradient_sums_micro_batches_and_both_modules_of_a_pair() -> None:
    pair = branches(tied=True)
    pair.online.double().eval()
    pair.target.double().eval()
    generator = torch.Generator().manual_seed(4)
    masking.write(pair.online, random_masks(pair.online, 0.4, generator))
    masking.write(pair.target, random_masks(pair.target, 0.7, generator))
    batches = [images(generator, 8).double() for _ in range(3)]
    single = []
    for part in batches:
        for module in pair.learners:
            masking.watch(module, enabled=True)
        loss_of(pair, part).backward()
        single.append([masking.dense_gradient(module) for module in pair.learners])
    for module in pair.learners:
        masking.watch(module, enabled=True)
    for part in batches:
        loss_of(pair, part).backward()
    together = masking.dense_gradient(*pair.learners)
    for name, gradient in together.items():
        parts = sum(module[name] for batch in single for module in batch)
        assert torch.allclose(gradient, torch.as_tensor(parts), rtol=1e-12, atol=1e-14)
        assert torch.equal(gradient_magnitude(together)[name], gradient.abs())


def test_on_the_mask_the_dense_gradient_is_the_latents_bit_for_bit_over_views_and_micro_batches() -> None:
    encoder, generator = masked_encoder(), torch.Generator().manual_seed(6)
    masking.write(encoder, masks := random_masks(encoder, 0.4, generator))
    masking.watch(encoder, enabled=True)
    for _ in range(3):
        views = [images(generator, 8) for _ in range(2)]
        sum((encoder(view).square().sum() for view in views), torch.zeros(())).backward()
    for path, gradient in masking.dense_gradient(encoder).items():
        of_latent = masking.latent(encoder)[path].grad
        assert of_latent is not None
        assert torch.equal(gradient * masks[path], of_latent)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("batches", [1, 3])
def test_a_gradient_that_is_let_straight_is_the_dense_gradient_of_the_same_product(
    layout: torch.memory_format, batches: int, *, tied: bool
) -> None:
    pair, generator = branches(tied=tied), torch.Generator().manual_seed(5)
    for module in (pair.online, pair.target):
        module.to(memory_format=layout)
    pair.write(random_masks(pair.online, 0.4, generator))
    straight = copy.deepcopy(pair)
    straight.let_straight()
    pair.watch()
    assert masking.Layers(straight.online).has_dense_gradient
    assert not masking.is_watched(straight.online)
    parts = [images(generator, 8) for _ in range(batches)]
    for each in (pair, straight):
        for part in parts:
            loss_of(each, part).backward()
    for path, gradient in pair.dense_gradient().items():
        latent = masking.latent(straight.online)[path]
        assert latent.grad is not None
        assert torch.allclose(latent.grad, gradient, rtol=1e-4, atol=1e-6)
        assert torch.equal(latent.grad, gradient) or batches > 1  # the sum of more has another order
        for module, other in ((straight.online, pair.online), (straight.target, pair.target)):
            product, expected = (each.get_submodule(path).weight for each in (module, other))
            assert isinstance(product, Tensor)
            assert isinstance(expected, Tensor)
            assert torch.equal(product, expected)


def test_a_gradient_that_is_let_straight_is_not_watched() -> None:
    encoder = masked_encoder()
    masking.watch(encoder, enabled=True)
    masking.let_straight(encoder)
    assert not masking.is_watched(encoder)
    masking.watch(encoder, enabled=False)
    with pytest.raises(RuntimeError, match="watch: gradients are let straight through here"):
        masking.watch(encoder, enabled=True)


def test_dense_gradient_without_watching_raises() -> None:
    encoder = masked_encoder()
    encoder(images(torch.Generator())).sum().backward()
    with pytest.raises(RuntimeError, match=r"3: no dense gradient.*before the forward pass"):
        masking.dense_gradient(encoder)
    masking.watch(encoder, enabled=True)
    with pytest.raises(RuntimeError, match="no dense gradient"):
        masking.dense_gradient(encoder)
    encoder(images(torch.Generator())).sum().backward()
    assert masking.is_watched(encoder)
    assert masking.dense_gradient(encoder).keys() == masking.latent(encoder).keys()
    masking.watch(encoder, enabled=False)
    assert not masking.is_watched(encoder)
    with pytest.raises(RuntimeError, match="no dense gradient"):
        masking.dense_gradient(encoder)


def _strides(encoder: nn.Module) -> list[tuple[int, ...]]:
    weights = [encoder.get_submodule(path).weight for path in masking.latent(encoder)]
    return [weight.stride() for weight in weights if isinstance(weight, Tensor)]
