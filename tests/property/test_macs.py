"""Laws of MACs: I40, I65 to I67 (the ERK table itself is in test_allocation), and the training sum of 6.1b."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.models import ResNetGenerator
from torch import Tensor, nn

from methods import masking
from methods.branches import Branches
from methods.macs import (
    Passes,
    TrainingMacs,
    density_encoder,
    density_prunable,
    effective_macs,
    inference_macs,
    macs_ratio,
)
from tests.strategies import IMAGE, PRUNABLE, SIZES, branches, masked_encoder, random_masks, tiny_encoder

TINY_MACS = {"0": 8 * 8 * 4 * 3 * 9, "3": 4 * 4 * 8 * 4 * 9, "6": 4 * 4 * 8 * 4 * 3, "7": 4 * 4 * 12 * 8}


@pytest.mark.parametrize(
    ("layer", "image", "expected"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (3, 10, 7), 10 * 7 * 8 * 3 * 9),
        (nn.Conv2d(3, 8, 3), (3, 10, 7), 8 * 5 * 8 * 3 * 9),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (3, 10, 7), 5 * 4 * 8 * 3 * 9),
        (nn.Conv2d(4, 8, 3, groups=2, padding=1), (4, 6, 6), 36 * 8 * 2 * 9),
        (nn.Conv2d(6, 6, 3, groups=6, padding=1), (6, 5, 5), 25 * 6 * 9),
        (nn.Conv2d(3, 8, 3, dilation=2), (3, 9, 9), 5 * 5 * 8 * 3 * 9),
        (nn.Conv2d(3, 8, (1, 5), padding=(0, 2), stride=(2, 1)), (3, 6, 9), 3 * 9 * 8 * 3 * 5),
        (nn.Conv2d(3, 8, 3, padding="same"), (3, 9, 9), 81 * 8 * 3 * 9),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 10)), (3, 4, 4), 480),
        (nn.Linear(5, 7), (3, 4, 5), 3 * 4 * 35),
    ],
)
def test_macs_by_hand(layer: nn.Module, image: tuple[int, int, int], expected: int) -> None:
    assert sum(inference_macs(layer, image).values()) == expected


def test_the_tiny_encoder_by_hand() -> None:
    assert inference_macs(tiny_encoder(), IMAGE) == TINY_MACS
    assert inference_macs(masked_encoder(), IMAGE) == TINY_MACS


def test_a_layer_used_twice_counts_twice() -> None:
    layer = nn.Linear(4, 4)
    assert sum(inference_macs(nn.Sequential(layer, nn.ReLU(), layer), (1, 1, 4)).values()) == 2 * 16


def test_the_imagenet_resnet_50_has_its_textbook_macs() -> None:
    """4.09 G MACs at 224 x 224; torchvision prints the same number for its ResNet-50 v1.5 weights."""
    from torchvision.models import resnet50  # noqa: PLC0415 (only here)

    assert round(sum(inference_macs(resnet50(), (3, 224, 224)).values()) / 1e9, 2) == 4.09


def test_uncountable_layers_raise() -> None:
    with pytest.raises(ValueError, match=r"1.weight: only the MACs of Conv2d and Linear"):
        inference_macs(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 4, 2)), IMAGE)


def test_counting_touches_nothing() -> None:
    encoder = masked_encoder().train()
    encoder(torch.randn(4, *IMAGE)).sum().backward()
    before = copy.deepcopy(encoder.state_dict())
    gradients = [parameter.grad.clone() for parameter in encoder.parameters() if parameter.grad is not None]
    state = torch.random.get_rng_state()
    inference_macs(encoder, IMAGE)
    macs_ratio(encoder, IMAGE)
    assert encoder.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    after = [parameter.grad for parameter in encoder.parameters() if parameter.grad is not None]
    assert all(torch.equal(first, second) for first, second in zip(gradients, after, strict=True))
    assert not any(module._forward_hooks for module in encoder.modules())


@given(st.floats(0.0, 1.0), st.integers(0, 99))
def test_macs_are_linear_in_the_ones_of_each_layer(density: float, seed: int) -> None:
    encoder = masked_encoder()
    masking.write(encoder, random_masks(encoder, density, torch.Generator().manual_seed(seed)))
    ones = masking.counts(encoder)
    present = effective_macs(encoder, inference_macs(encoder, IMAGE))
    assert present["0"] == TINY_MACS["0"]
    for name in PRUNABLE:
        assert present[name] * SIZES[name] == TINY_MACS[name] * ones[name]
    assert macs_ratio(encoder, IMAGE) == sum(present.values()) / sum(TINY_MACS.values())
    assert density_prunable(encoder) == sum(ones.values()) / sum(SIZES.values())
    parameters = sum(parameter.numel() for parameter in tiny_encoder().parameters())
    zeros = sum(int((parameter == 0).sum()) for parameter in masking.export(encoder).parameters())
    zeros -= sum(int((parameter == 0).sum()) for parameter in tiny_encoder().parameters())
    assert density_encoder(encoder) == pytest.approx(1 - zeros / parameters)


def test_density_one_is_dense() -> None:
    encoder = masked_encoder()
    assert effective_macs(encoder, TINY_MACS) == TINY_MACS
    assert density_prunable(encoder) == density_encoder(encoder) == macs_ratio(encoder, IMAGE) == 1.0


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0.0, 1.0)), min_size=1, max_size=6),
    st.booleans(),
)
@settings(max_examples=15)
def test_training_macs_follow_the_masks_of_every_step(
    steps: list[tuple[bool, bool, float]],
    tied: bool,  # noqa: FBT001
) -> None:
    """Against a plain sum that recomputes everything at every step; resumed in the middle."""
    pair = branches(tied=tied)
    passes = (
        Passes(online=1, target_trained=1, target_forward=0)
        if tied
        else Passes(online=2, target_trained=0, target_forward=2)
    )
    generator = torch.Generator().manual_seed(1)
    training = TrainingMacs(pair, IMAGE, passes)
    dense = sum(TINY_MACS.values())
    spent = 0
    for rewritten, watched, density in steps:
        if rewritten:
            masking.write(pair.online, random_masks(pair.online, density, generator))
            masking.write(pair.target, random_masks(pair.target, density, generator))
        masking.watch(pair.online, enabled=watched)
        online = sum(effective_macs(pair.online, TINY_MACS).values())
        target = sum(effective_macs(pair.target, TINY_MACS).values())
        if tied:
            spent += 3 * online + 3 * target + watched * (2 * dense - online - target)
        else:
            spent += 2 * (3 * online + target) + watched * 2 * (dense - online)
        training.observe()
        resumed = TrainingMacs(pair, IMAGE, passes)
        resumed.load_state_dict(training.state_dict())
        training = resumed if density > 0.5 else training
    per_step = 6 * dense if tied else 8 * dense
    assert training.ratio == spent / (per_step * len(steps))


def test_a_dense_run_has_ratio_one() -> None:
    pair = branches(tied=False)
    training = TrainingMacs(pair, IMAGE, Passes(online=1, target_trained=0, target_forward=1))
    for _ in range(5):
        training.observe()
    assert training.ratio == 1.0


class _Spare(nn.Module):
    """An encoder with a layer that its forward pass leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.used = tiny_encoder()
        self.spare = nn.Conv2d(4, 4, 3)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.used(image)
        return features


def test_a_layer_that_no_image_passes_costs_nothing() -> None:
    """Found by a review: the sum over a run asked for the MACs of every masked layer."""
    encoder = _Spare()
    masking.install(encoder)
    pair = Branches(online=encoder, target=masking.twin(encoder, own_statistics=True), tied=True)
    pair.write(random_masks(encoder, 0.3, torch.Generator().manual_seed(1)))
    training = TrainingMacs(pair, IMAGE, Passes(online=1, target_trained=1, target_forward=0))
    training.observe()
    assert training.ratio == macs_ratio(encoder, IMAGE)


def test_small_steps_count_at_their_own_size() -> None:
    """A quarter of the pixels is a quarter of the MACs of every convolution; the ratio compares equal steps."""
    pair = branches(tied=False)
    side = IMAGE[1] // 2
    small = (IMAGE[0], side, side)
    training = TrainingMacs(pair, IMAGE, Passes(online=1, target_trained=0, target_forward=0), [side])
    sizes = [3 * sum(inference_macs(pair.online, shape).values()) for shape in (small, IMAGE)]
    for seen in (side, side, 0):
        training.observe(side=seen)
    assert training.state_dict() == {"spent": 2 * sizes[0] + sizes[1], "of_dense": 2 * sizes[0] + sizes[1]}
    masking.write(pair.online, random_masks(pair.online, 0.2, torch.Generator().manual_seed(1)))
    before = training.state_dict()["spent"]
    training.observe(side=side)
    left = sum(effective_macs(pair.online, inference_macs(pair.online, small)).values())
    assert training.state_dict()["spent"] == before + 3 * left


@pytest.mark.parametrize("dense_side", [8, 0])
def test_a_control_is_counted_beside_what_the_dense_run_sees_at_that_step(dense_side: int) -> None:
    pair = branches(tied=False)
    training = TrainingMacs(pair, IMAGE, Passes(online=1, target_trained=1, target_forward=0), [4, 8])
    sizes = {side: sum(inference_macs(pair.online, (IMAGE[0], side, side)).values()) for side in (4, 8, IMAGE[1])}
    training.observe(side=4, dense_side=dense_side)
    assert training.ratio == sizes[4] / sizes[dense_side or IMAGE[1]]


def test_loading_a_checkpoint_is_noticed() -> None:
    """Loading writes the masks without `write`."""
    pair = branches(tied=False)
    training = TrainingMacs(pair, IMAGE, Passes(online=1, target_trained=0, target_forward=0))
    training.observe()
    other = masked_encoder()
    masking.write(other, random_masks(other, 0.2, torch.Generator().manual_seed(1)))
    pair.online.load_state_dict(other.state_dict())
    training.observe()
    assert training.ratio == pytest.approx((1 + macs_ratio(other, IMAGE)) / 2)


def test_lightly_resnets_count_stem_and_shortcuts() -> None:
    encoder = ResNetGenerator("resnet-9", width=0.125)
    encoder.linear = nn.Identity()
    macs = inference_macs(encoder, (3, 32, 32))
    assert macs["conv1"] == 32 * 32 * 8 * 27
    assert macs["layer2.0.shortcut.0"] == 16 * 16 * 16 * 8
    assert len(macs) == 12
