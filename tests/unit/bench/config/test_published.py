"""What is scaled keeps its meaning, and what sources do not scale stays."""

import dataclasses
import math
from typing import Any

import pytest

from bench.config.framework import BYOLSpec, MoCoSpec
from bench.config.profiles import PROFILES
from bench.config.published import cifar, rebatched

GPU, PAPER = PROFILES["gpu"], PROFILES["paper"]


@pytest.mark.parametrize("name", PAPER.recipes)
def test_rates_grow_with_the_batch_and_the_rest_of_the_optimizer_stays(name: str) -> None:
    before, after = PAPER.recipes[name].optimizer, GPU.recipes[name].optimizer
    assert after.learning_rate / before.learning_rate == pytest.approx(after.batch_images / before.batch_images)
    scaled = ("learning_rate", "batch_images", "epochs", "precision")
    kept: dict[str, Any] = {key: getattr(before, key) for key in scaled}
    assert dataclasses.replace(after, **kept) == before


@pytest.mark.parametrize("name", ["byol", "moco"])
def test_a_target_remembers_as_many_images_in_larger_batches(name: str) -> None:
    """Of images, not of steps: the weight of what was seen one batch of the slower run ago is the same."""
    before, after = PAPER.recipes[name], GPU.recipes[name]
    assert isinstance(before.framework, BYOLSpec | MoCoSpec)
    assert isinstance(after.framework, BYOLSpec | MoCoSpec)
    for old, new in zip(
        (before.framework.ema_start, before.framework.ema_end),
        (after.framework.ema_start, after.framework.ema_end),
        strict=True,
    ):
        per_image = math.log(old) / before.optimizer.batch_images
        assert math.log(new) / after.optimizer.batch_images == pytest.approx(per_image, rel=1e-4)
    kept: dict[str, Any] = {"ema_start": before.framework.ema_start, "ema_end": before.framework.ema_end}
    assert dataclasses.replace(after.framework, **kept) == before.framework


def test_recipes_in_their_own_batches_stay() -> None:
    assert rebatched(cifar(), batch_images=256, epochs=1000, precision="32-true") == cifar()
