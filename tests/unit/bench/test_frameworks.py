import copy

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from lightly.models.utils import update_momentum
from torch import nn

from bench.config import EncoderSpec, FrameworkSpec
from bench.encoders import build
from bench.frameworks import FRAMEWORKS, Wiring
from bench.frameworks.byol import BYOL
from bench.frameworks.simclr import SimCLR
from methods import masking

SIMCLR = FrameworkSpec(name="simclr", hidden_dim=16, output_dim=8, temperature=0.2)
BYOL_SPEC = FrameworkSpec(name="byol", hidden_dim=16, output_dim=8, prediction_dim=12, ema_start=0.9, ema_end=1.0)


def encoder(seed: int = 0) -> tuple[nn.Module, int]:
    torch.manual_seed(seed)
    module, features = build(EncoderSpec(name="resnet-9", width=0.0625))
    masking.install(module)
    return module, features


def views(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 3, 32, 32, generator=generator), torch.randn(8, 3, 32, 32, generator=generator)


def test_dense_simclr_with_a_twin_is_bit_identical_to_simclr_without() -> None:
    module, features = encoder()
    framework = FRAMEWORKS["simclr"](module, features, SIMCLR, Wiring())
    plain, projection = masking.export(copy.deepcopy(module)), copy.deepcopy(framework.get_submodule("projection"))
    optimizers = [
        torch.optim.SGD(part.parameters(), lr=0.1, momentum=0.9)
        for part in (framework, nn.ModuleList([plain, projection]))
    ]
    for seed in range(3):
        view0, view1 = views(seed)
        loss = framework.loss(view0, view1)
        expected = NTXentLoss(temperature=0.2)(projection(plain(view0)), projection(plain(view1)))
        assert torch.equal(loss, expected)
        for optimizer, value in zip(optimizers, (loss, expected), strict=True):
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    online, reference = masking.export(framework.online).state_dict(), plain.state_dict()
    assert all(torch.equal(online[name], reference[name]) for name in reference)


def test_the_target_mask_of_simclr_is_used_for_view_1() -> None:
    module, features = encoder()
    framework = SimCLR(module, features, SIMCLR, Wiring())
    before = framework.loss(*views())
    masks = masking.read(framework.target)
    masking.write(framework.target, {name: torch.zeros_like(mask) for name, mask in masks.items()})
    assert not torch.equal(framework.loss(*views()), before)
    assert all(bool(mask.all()) for mask in masking.read(framework.online).values())


@pytest.mark.parametrize(("own", "expected"), [(False, True), (True, False)])
def test_different_masks_need_statistics_of_their_own(own: bool, expected: bool) -> None:  # noqa: FBT001
    # With shared statistics, what is exported would be normalised by a mixture with the target's other mask.
    module, features = encoder()
    framework = SimCLR(module, features, SIMCLR, Wiring(own_statistics=own))
    framework.loss(*views())
    online, target = (part.get_buffer("bn1.running_mean") for part in (framework.online, framework.target))
    assert torch.equal(online, target) is expected


def test_byol_sums_the_two_terms_and_crosses_the_views() -> None:
    module, features = encoder()
    framework = FRAMEWORKS["byol"](module, features, BYOL_SPEC, Wiring())
    assert isinstance(framework, BYOL)
    masks = {name: (torch.rand_like(mask) < 0.5).float() for name, mask in masking.read(module).items()}
    masking.write(framework.target, masks)
    view0, view1 = views()
    predicted = [framework.prediction(framework.projection(framework.online(view))) for view in (view0, view1)]
    wanted = [framework.target_projection(framework.target(view)).detach() for view in (view0, view1)]
    similarity = NegativeCosineSimilarity()
    expected = similarity(predicted[0], wanted[1]) + similarity(predicted[1], wanted[0])
    torch.testing.assert_close(framework.loss(view0, view1), expected)


def test_byol_sends_no_gradient_into_the_target() -> None:
    module, features = encoder()
    framework = BYOL(module, features, BYOL_SPEC, Wiring())
    framework.loss(*views()).backward()
    assert all(parameter.grad is None for parameter in framework.target.parameters())
    assert all(parameter.grad is not None for parameter in framework.online.parameters())


def test_the_ema_moves_latents_and_leaves_the_target_mask() -> None:
    module, features = encoder()
    framework = BYOL(module, features, BYOL_SPEC, Wiring())
    masks = {name: (torch.rand_like(mask) < 0.5).float() for name, mask in masking.read(module).items()}
    masking.write(framework.target, masks)
    with torch.no_grad():
        for weight in masking.latent(framework.online).values():
            weight.add_(1.0)
    expected = copy.deepcopy(framework.target)
    update_momentum(framework.online, expected, m=0.9)
    framework.update_target(step=0, total_steps=10)
    for name, weight in masking.latent(framework.target).items():
        assert torch.equal(weight, masking.latent(expected)[name])
        assert torch.equal(masking.read(framework.target)[name], masks[name])


def test_the_ema_momentum_ends_at_its_end() -> None:
    module, features = encoder()
    framework = BYOL(module, features, BYOL_SPEC, Wiring())
    with torch.no_grad():
        for weight in masking.latent(framework.online).values():
            weight.add_(1.0)
    before = copy.deepcopy(masking.latent(framework.target))
    framework.update_target(step=9, total_steps=10)
    assert all(torch.equal(before[name], weight) for name, weight in masking.latent(framework.target).items())


def test_byol_without_its_constants_is_refused() -> None:
    module, features = encoder()
    with pytest.raises(ValueError, match="byol needs prediction_dim"):
        BYOL(module, features, SIMCLR, Wiring())


def test_two_frameworks_do_not_share_a_loss() -> None:
    losses = set()
    for name, spec in (("simclr", SIMCLR), ("byol", BYOL_SPEC)):
        module, features = encoder()
        torch.manual_seed(1)
        losses.add(round(float(FRAMEWORKS[name](module, features, spec, Wiring()).loss(*views()).detach()), 4))
    assert len(losses) == len(("simclr", "byol"))


def test_the_encoder_has_the_cifar_stem_and_its_relu() -> None:
    module, features = build(EncoderSpec(name="resnet-9", width=0.0625))
    stem = module.get_submodule("conv1")
    assert isinstance(stem, nn.Conv2d)
    assert (stem.kernel_size, stem.stride, stem.padding) == ((3, 3), (1, 1), (1, 1))
    seen: list[torch.Tensor] = []
    module.get_submodule("layer1").register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    assert module(torch.randn(2, 3, 32, 32)).shape == (2, features)
    assert seen[0].detach().min() >= 0.0  # Lightly's Sequential idiom would lose this ReLU


def test_unknown_encoders_are_refused() -> None:
    with pytest.raises(ValueError, match="resnet-7"):
        build(EncoderSpec(name="resnet-7", width=1))
    with pytest.raises(ValueError, match=r"at width 0.5"):
        build(EncoderSpec(name="resnet-18", width=0.5, stem="imagenet"))
