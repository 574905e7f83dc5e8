import copy
from typing import Any

import pytest
import torch
import torchvision
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from lightly.models.utils import update_momentum
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from bench.config.framework import (
    FRAMEWORK_SPECS,
    BarlowTwinsSpec,
    BYOLSpec,
    MoCoSpec,
    SimCLRSpec,
    SimSiamSpec,
    SupervisedSpec,
    VICRegSpec,
)
from bench.config.profiles import PROFILES, Profile
from bench.config.run import EncoderSpec
from bench.frameworks import FRAMEWORKS, Wiring
from bench.frameworks.barlow_twins import BarlowTwins
from bench.frameworks.base import follow
from bench.frameworks.byol import BYOL
from bench.frameworks.moco import MoCo
from bench.frameworks.simclr import SimCLR
from bench.frameworks.simsiam import SimSiam
from bench.frameworks.supervised import Supervised
from bench.frameworks.vicreg import VICReg
from bench.training.encoders import build
from bench.views.recipes import RECIPES
from methods import masking

SIMCLR = SimCLRSpec(hidden_dim=16, output_dim=8, temperature=0.2)
BYOL_SPEC = BYOLSpec(hidden_dim=16, output_dim=8, prediction_dim=12, ema_start=0.9, ema_end=1.0)
SPECS: dict[str, Any] = {  # each of its own class
    "simclr": SIMCLR,
    "moco": MoCoSpec(hidden_dim=16, output_dim=8, temperature=0.2, ema_start=0.9, ema_end=0.8, queue_size=24),
    "byol": BYOL_SPEC,
    "barlow_twins": BarlowTwinsSpec(hidden_dim=16, output_dim=8, redundancy_weight=0.005, loss_scale=0.1),
    "simsiam": SimSiamSpec(hidden_dim=16, output_dim=8, prediction_dim=12),
    "vicreg": VICRegSpec(hidden_dim=16, output_dim=8, loss_scale=0.04),
    "supervised": SupervisedSpec(hidden_dim=0, output_dim=10),
}


def encoder(seed: int = 0) -> tuple[nn.Module, int]:
    torch.manual_seed(seed)
    module, features = build(EncoderSpec(name="resnet-9", width=0.0625))
    masking.install(module)
    return module, features


def views(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(8, 3, 32, 32, generator=generator) for _ in range(2))
    return first, second, torch.arange(8) % 4


def test_dense_simclr_with_a_twin_is_bit_identical_to_simclr_without() -> None:
    module, features = encoder()
    framework = FRAMEWORKS["simclr"](module, features, SIMCLR, Wiring())
    plain, projection = masking.export(copy.deepcopy(module)), copy.deepcopy(framework.get_submodule("projection"))
    optimizers = [
        torch.optim.SGD(part.parameters(), lr=0.1, momentum=0.9)
        for part in (framework, nn.ModuleList([plain, projection]))
    ]
    for seed in range(3):
        view0, view1, labels = views(seed)
        loss = framework.loss(view0, view1, labels)
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
    view0, view1, labels = views()
    predicted = [framework.prediction(framework.projection(framework.online(view))) for view in (view0, view1)]
    wanted = [framework.target_projection(framework.target(view)).detach() for view in (view0, view1)]
    similarity = NegativeCosineSimilarity()
    expected = similarity(predicted[0], wanted[1]) + similarity(predicted[1], wanted[0])
    torch.testing.assert_close(framework.loss(view0, view1, labels), expected)


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


def test_simsiam_predicts_the_other_view_and_detaches_what_is_predicted() -> None:
    module, features = encoder()
    framework = SimSiam(module, features, SPECS["simsiam"], Wiring())
    view0, view1, labels = views()
    z0, z1 = (framework.projection(part(view)) for part, view in ((module, view0), (framework.target, view1)))
    similarity, wanted0, wanted1 = NegativeCosineSimilarity(), z0.detach(), z1.detach()
    expected = (similarity(framework.prediction(z0), wanted1) + similarity(framework.prediction(z1), wanted0)) / 2
    loss = framework.loss(view0, view1, labels)
    torch.testing.assert_close(loss, expected)
    parameters = list(framework.parameters())
    for got, want in zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(got, want)


def test_vicreg_weighs_its_three_terms_as_published() -> None:
    module, features = encoder()
    framework = VICReg(module, features, SPECS["vicreg"], Wiring())
    view0, view1, labels = views()
    z0, z1 = framework.projection(module(view0)), framework.projection(framework.target(view1))
    variances = [(1 - (z.var(dim=0) + 1e-4).sqrt()).relu().mean() for z in (z0, z1)]
    covariances = [z.T.cov().square() for z in (z0, z1)]
    covariance = sum((each.sum() - each.diagonal().sum()) / 8 for each in covariances)
    expected = 25 * (z0 - z1).square().mean() + 25 * (variances[0] + variances[1]) / 2 + covariance
    torch.testing.assert_close(framework.loss(view0, view1, labels), 0.04 * expected)


def test_two_frameworks_do_not_share_a_loss() -> None:
    losses = set()
    for name, spec in SPECS.items():
        module, features = encoder()
        torch.manual_seed(1)
        losses.add(round(float(FRAMEWORKS[name](module, features, spec, Wiring()).loss(*views()).detach()), 4))
    assert len(losses) == len(SPECS) == len(FRAMEWORKS)


@pytest.mark.parametrize("name", [name for name in FRAMEWORKS if name != "supervised"])
def test_a_self_supervised_loss_does_not_look_at_labels(name: str) -> None:
    losses = []
    for labels in (torch.zeros(8, dtype=torch.int64), torch.arange(8) - 100):
        module, features = encoder()
        torch.manual_seed(1)
        losses.append(FRAMEWORKS[name](module, features, SPECS[name], Wiring()).loss(*views()[:2], labels))
    assert torch.equal(*losses)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_gradients_reach_what_is_trained_and_nothing_else(name: str) -> None:
    """And each branch sees as many views as is said, and counted for the training MACs."""
    module, features = encoder()
    framework = FRAMEWORKS[name](module, features, SPECS[name], Wiring())
    seen = {"online": 0, "target": 0}
    framework.online.register_forward_hook(lambda *_: seen.update(online=seen["online"] + 1))
    framework.target.register_forward_hook(lambda *_: seen.update(target=seen["target"] + 1))
    framework.loss(*views()).backward()
    assert all(weight.grad is not None for weight in framework.online.parameters())
    assert all(weight.grad is None for weight in framework.target.parameters() if not weight.requires_grad)
    passes = framework.passes
    assert seen == {"online": passes.online, "target": passes.target_trained + passes.target_forward}
    assert framework.tied == (passes.target_trained > 0)


def test_moco_asks_with_view_0_and_answers_with_view_1_and_the_queue() -> None:
    module, features = encoder()
    framework = MoCo(module, features, SPECS["moco"], Wiring())
    masks = {name: (torch.rand_like(mask) < 0.5).float() for name, mask in masking.read(module).items()}
    masking.write(framework.target, masks)
    view0, view1, labels = views()
    queue = framework.unsaved_buffers()["bank"].clone()
    query = normalize(framework.projection(framework.online(view0)), dim=1)
    key = normalize(framework.target_projection(framework.target(view1)), dim=1).detach()
    logits = torch.cat([(query * key).sum(dim=1, keepdim=True), query @ queue.T], dim=1) / 0.2
    expected = cross_entropy(logits, torch.zeros(8, dtype=torch.int64))
    torch.testing.assert_close(framework.loss(view0, view1, labels), expected)
    torch.testing.assert_close(framework.unsaved_buffers()["bank"][:8], key)
    assert torch.equal(framework.unsaved_buffers()["bank"][8:], queue[8:])
    assert framework.unsaved_buffers()["bank_ptr"].tolist() == [8]
    assert not any("bank" in name for name in framework.state_dict())


def test_mocos_queue_turns_over_without_losing_a_key() -> None:
    module, features = encoder()
    framework = MoCo(module, features, SPECS["moco"], Wiring())
    start = framework.unsaved_buffers()["bank"].clone()
    for seed in range(3):
        framework.loss(*views(seed))
        assert framework.unsaved_buffers()["bank_ptr"].tolist() == [8 * (seed + 1) % 24]
        assert torch.equal(framework.unsaved_buffers()["bank"][8 * (seed + 1) :], start[8 * (seed + 1) :])
    whole = framework.unsaved_buffers()["bank"].clone()
    framework.loss(*views(3))
    assert not torch.equal(framework.unsaved_buffers()["bank"][:8], whole[:8])
    assert torch.equal(framework.unsaved_buffers()["bank"][8:], whole[8:])


@pytest.mark.parametrize(("batch", "images", "suits"), [(8, 96, True), (24, 96, True), (7, 96, False), (8, 95, False)])
def test_mocos_queue_must_suit_batch_and_images(batch: int, images: int, *, suits: bool) -> None:
    module, features = encoder()
    framework = MoCo(module, features, SPECS["moco"], Wiring())
    if suits:
        framework.require(batch_images=batch, train_images=images)
        return
    with pytest.raises(ValueError, match=r"queue of 24 keys does not suit .* at most a quarter of the images"):
        framework.require(batch_images=batch, train_images=images)


def test_mocos_ema_ends_at_its_end() -> None:
    module, features = encoder()
    framework = MoCo(module, features, SPECS["moco"], Wiring())
    with torch.no_grad():
        for weight in masking.latent(framework.online).values():
            weight.add_(1.0)
    expected = copy.deepcopy(framework.target)
    update_momentum(framework.online, expected, m=0.8)
    framework.update_target(step=9, total_steps=10)
    for name, weight in masking.latent(framework.target).items():
        assert torch.equal(weight, masking.latent(expected)[name])


def test_barlow_twins_is_the_papers_formula_and_scaled() -> None:
    module, features = encoder()
    framework = BarlowTwins(module, features, SPECS["barlow_twins"], Wiring())
    view0, view1, labels = views()
    first, second = (framework.projection(framework.online(view)) for view in (view0, view1))
    first, second = ((z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt() for z in (first, second))
    correlation = first.T @ second / len(first)
    on = (correlation.diagonal() - 1).square().sum()
    off = (correlation - torch.diag(correlation.diagonal())).square().sum()
    torch.testing.assert_close(framework.loss(view0, view1, labels), 0.1 * (on + 0.005 * off))


def test_the_target_mask_of_barlow_twins_is_used_for_view_1() -> None:
    losses = []
    for mask_value in (1.0, 0.0):
        module, features = encoder()
        framework = BarlowTwins(module, features, SPECS["barlow_twins"], Wiring(own_statistics=True))
        masks = masking.read(framework.target)
        masking.write(framework.target, {name: torch.full_like(mask, mask_value) for name, mask in masks.items()})
        losses.append(framework.loss(*views()))
        assert all(bool(mask.all()) for mask in masking.read(framework.online).values())
    assert not torch.equal(*losses)


def test_supervised_is_cross_entropy_on_view_0_and_the_target_changes_nothing() -> None:
    module, features = encoder()
    framework = Supervised(module, features, SPECS["supervised"], Wiring())
    masks = masking.read(framework.target)
    masking.write(framework.target, {name: torch.zeros_like(mask) for name, mask in masks.items()})
    view0, view1, labels = views()
    expected = cross_entropy(framework.classifier(framework.online(view0)), labels)
    torch.testing.assert_close(framework.loss(view0, torch.full_like(view1, float("nan")), labels), expected)
    assert not torch.equal(framework.loss(view0, view1, labels.flip(0)), expected)
    assert all(
        theirs is ours
        for ours, theirs in zip(framework.online.parameters(), framework.target.parameters(), strict=True)
    )


def test_classes_without_an_output_are_refused_before_the_first_step() -> None:
    module, features = encoder()
    framework = Supervised(module, features, SPECS["supervised"], Wiring())
    framework.require_classes(10)
    with pytest.raises(ValueError, match=r"11 classes, but the classifier has 10 outputs. Set framework.output_dim"):
        framework.require_classes(11)


def test_every_framework_has_its_constants_and_its_class() -> None:
    assert list(FRAMEWORKS) == list(FRAMEWORK_SPECS)


@pytest.mark.parametrize("profile", PROFILES.values())
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_every_profile_has_a_recipe_that_can_be_built(name: str, profile: Profile) -> None:
    module, features = encoder()
    for recipes, images in ((profile.recipes, profile.train_images or 50_000), (profile.stand_in_recipes, 1297)):
        if recipes:
            framework = FRAMEWORKS[name](module, features, recipes[name].framework, Wiring())
            framework.require(batch_images=recipes[name].optimizer.batch_images, train_images=images)
    assert profile.views("cifar10", name).recipe in RECIPES


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
    with pytest.raises(ValueError, match=r"'resnet-9' with an ImageNet stem is unknown"):
        build(EncoderSpec(name="resnet-9", width=0.5, stem="imagenet"))


@pytest.mark.parametrize("name", ["resnet-18", "resnet-50"])
def test_the_imagenet_encoder_of_width_1_is_torchvisions(name: str) -> None:
    torch.manual_seed(0)
    ours, features = build(EncoderSpec(name=name, width=1.0, stem="imagenet"))
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name.replace("-", ""))()
    assert features == theirs.fc.in_features
    expected = {key: value for key, value in theirs.state_dict().items() if not key.startswith("fc.")}
    found = ours.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_a_thin_imagenet_encoder_has_thin_stages() -> None:
    encoder, features = build(EncoderSpec(name="resnet-18", width=0.0625, stem="imagenet"))
    assert features == 32
    assert encoder(torch.randn(2, 3, 64, 64)).shape == (2, 32)


def test_a_target_that_is_built_otherwise_does_not_follow() -> None:
    online = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    target = copy.deepcopy(online)
    follow(online, target, 0.5)
    target[0].register_parameter("more", nn.Parameter(torch.zeros(2)))
    with pytest.raises(ValueError, match=r"does not follow the online encoder: \['0.more'\] differs"):
        follow(online, target, 0.5)
    swapped = nn.Sequential()
    swapped.add_module("1", nn.Linear(2, 2))
    swapped.add_module("0", nn.Linear(2, 2))  # the same shapes in another order: each would follow its neighbour
    with pytest.raises(ValueError, match="their order differs"):
        follow(online, swapped, 0.5)
