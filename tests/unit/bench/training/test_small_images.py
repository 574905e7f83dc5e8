"""Smaller images first: at the right steps, of the right pixels, and through an encoder that takes any size."""

import dataclasses
from pathlib import Path

import pytest
import torch
from lightly.models import ResNetGenerator
from torch import nn

from bench.config.run import EncoderSpec, Run
from bench.config.views import ViewSpec
from bench.errors import RunError
from bench.training import encoders, parts
from bench.training.batches import Batches, reduced
from tests.tiny import dataset_of, pretrained, tiny_run

SMALL = ViewSpec(pipeline="batched-v1", recipe="digits", small_pixels=16, small_fraction=0.5)


def small_run(method: str = "gradual", *, epochs: int = 2) -> Run:
    return dataclasses.replace(tiny_run("simclr", method, epochs=epochs), views=SMALL)


def test_pooling_the_whole_map_is_lightlys_at_32_pixels() -> None:
    torch.manual_seed(0)
    ours, _ = encoders.build(EncoderSpec(name="resnet-9", width=0.125))
    torch.manual_seed(0)
    theirs = ResNetGenerator("resnet-9", width=0.125)
    theirs.linear = nn.Identity()
    images = torch.randn(3, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    theirs = theirs.to(memory_format=torch.channels_last)
    assert torch.equal(ours.eval()(images), theirs.eval()(images))
    assert ours(images[:, :, :16, :16]).shape == ours(images).shape


def test_a_reduced_view_is_the_mean_of_what_it_covers() -> None:
    views = torch.randn(2, 3, 32, 32)
    means = views.reshape(2, 3, 16, 2, 16, 2).mean(dim=(3, 5))
    torch.testing.assert_close(reduced(views, 16), means)


def test_the_first_share_of_the_steps_is_small(tmp_path: Path) -> None:
    run = small_run()
    batches = Batches(run, dataset_of(run, tmp_path), parts.fabric_for(run))
    sizes = [batches.of(step, 0)[0].shape[-1] for step in range(batches.total_steps)]
    assert sizes == [16] * 4 + [32] * 4


def test_a_control_sees_smaller_images_first_and_counts_them_against_what_the_other_rows_see(tmp_path: Path) -> None:
    small = small_run("dense", epochs=3)
    run = dataclasses.replace(
        tiny_run("simclr", "dense_small_images", epochs=3),
        views=dataclasses.replace(SMALL, control_pixels=8, control_fraction=1 / 3),
    )
    batches = Batches(run, dataset_of(run, tmp_path), parts.fabric_for(run))
    assert [batches.of(step, 0)[0].shape[-1] for step in range(12)] == [8] * 4 + [16] * 2 + [32] * 6
    assert pretrained(small, tmp_path / "small").facts["training_macs_ratio"] == 1.0
    found = pretrained(run, tmp_path / "control").facts["training_macs_ratio"]
    assert found == pytest.approx((4 / 16 + 2 / 4 + 6) / (6 / 4 + 6))


def test_resuming_across_the_change_of_size_changes_no_bit(tmp_path: Path) -> None:
    run = small_run()

    def stop(step: int, _total: int, _phase: str = "") -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrained(run, tmp_path / "one", stop)
    resumed = pretrained(run, tmp_path / "one")
    whole = pretrained(run, tmp_path / "two")
    assert resumed.trained.losses == whole.trained.losses
    assert resumed.facts == whole.facts


@pytest.mark.parametrize(
    "given",
    [
        *({"small_pixels": 16}, {"small_fraction": 0.5}, {"small_fraction": 1.5}),
        *({"control_pixels": 8}, {"control_fraction": 0.5}, {"control_pixels": 8, "control_fraction": -0.5}),
    ],
)
def test_half_a_setting_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(RunError, match=next(iter(given)).partition("_")[0]):
        ViewSpec(pipeline="batched-v1", recipe="digits", **given)  # type: ignore[arg-type]


def test_a_control_has_smaller_views_than_the_others_and_nothing_else_has_views_of_a_control() -> None:
    with pytest.raises(RunError, match=r"control_pixels is 16 and small_pixels 16: a control saves"):
        dataclasses.replace(SMALL, control_pixels=16, control_fraction=0.5)
    controlled = dataclasses.replace(SMALL, control_pixels=8, control_fraction=0.5)
    for run, views in ((tiny_run("simclr", "dense"), controlled), (tiny_run("simclr", "dense_small_images"), SMALL)):
        with pytest.raises(RunError, match="dense_small_images learns from smaller views"):
            dataclasses.replace(run, views=views)
