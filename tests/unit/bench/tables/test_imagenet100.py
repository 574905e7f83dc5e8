"""The table of ImageNet-100: its sizes, its published constants, and what stands in for it."""

import dataclasses

import pytest
import torch

from bench.commands.cell import run_of_cell
from bench.config.overrides import changed
from bench.config.run import Run
from bench.data.known import Content
from bench.errors import UsageError
from bench.frameworks import FRAMEWORKS, Wiring
from bench.tables import TABLES, imagenet100
from bench.training import encoders, parts
from bench.views.recipes import RECIPES
from methods import masking

TABLE = TABLES["imagenet100"]
KNOWN_IMAGES = 126_689 - 1000  # less those held out


@pytest.mark.parametrize("profile", ["smoke", "cpu"])
def test_a_size_for_minutes_on_a_cpu_is_refused(profile: str) -> None:
    with pytest.raises(UsageError, match=f"table imagenet100, profile {profile}: .* Use --profile gpu or paper"):
        TABLE(profile, "imagenet100")


@pytest.mark.parametrize("profile", TABLE.profiles)
def test_a_cell_outside_the_table_is_the_run_of_the_table(profile: str) -> None:
    for run in TABLE(profile, "imagenet100").cells:
        assert run_of_cell(run.cell, profile=profile, data="imagenet100") == run


@pytest.mark.parametrize("profile", TABLE.profiles)
def test_every_framework_suits_its_batch_and_has_views_of_this_size(profile: str) -> None:
    cells = TABLE(profile, "imagenet100").cells
    for run in {run.framework.name: run for run in cells}.values():
        encoder, features = encoders.build(run.encoder)
        masking.install(encoder)
        made = FRAMEWORKS[run.framework.name](encoder, features, run.framework, Wiring())
        made.require(batch_images=run.optimizer.batch_images, train_images=KNOWN_IMAGES)
        assert run.views.recipe == f"{run.framework.name}-imagenet"
        assert run.views.recipe in RECIPES
        assert (run.data.image_size, run.data.crop_size, run.encoder.stem) == (256, 224, "imagenet")


def test_another_folder_of_images_takes_its_place() -> None:
    own = TABLE("gpu", "mine", Content(classes=3, train_images=9_000))
    assert own.names == TABLE("gpu", "imagenet100").names
    assert {(run.data.name, run.data.image_size) for run in own.cells} == {("mine", 256)}


@pytest.mark.parametrize("profile", TABLE.profiles)
def test_a_resnet_50_has_the_recipe_published_for_it_in_a_table_and_out_of_it(profile: str) -> None:
    changes = {"encoder.name": "resnet-50"}
    own, other = TABLE(profile, "imagenet100"), TABLE(profile, "imagenet100", encoder="resnet-50").changed(changes)
    assert [name.replace("t1.65", "t1.20") for name in own.names] == [*other.names]
    for before, after in zip(own.cells, other.cells, strict=True):
        assert after.encoder == dataclasses.replace(before.encoder, name="resnet-50")
        alone = run_of_cell(after.cell, profile=profile, data="imagenet100", encoder="resnet-50")
        assert changed(alone, changes) == after
        if before.framework.name != "moco":
            assert (after.optimizer, after.framework) == (before.optimizer, before.framework)
        elif before.optimizer.epochs:
            assert after.optimizer.learning_rate == 0.03 * after.optimizer.batch_images / 128
            assert (after.optimizer.warmup_epochs, after.framework.output_dim) == (0, 128)


def test_rows_of_a_resnet_50_can_be_built_gates_too() -> None:
    changes = {"encoder.name": "resnet-50", "encoder.width": "0.0625"}
    whole = TABLE("paper", "imagenet100", encoder="resnet-50").changed(changes)
    (run,) = whole.select("byol/gradual/element/d0.10").cells
    assert sum(len(shape) == 4 for shape in _shapes(run)) == 52  # 53 convolutions, less the stem
    wide = TABLE("paper", "imagenet100", encoder="resnet-50").changed({**changes, "encoder.width": "0.25"})
    for run in wide.select("moco/*/element/t1.20").cells:
        method = parts.method_for(run)
        method.attach(parts.framework_for(run).branches, 100)
        method.hold_out(torch.rand(2, 3, 64, 64))  # refuses what gates cannot reach


def _shapes(run: Run) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in masking.latent(parts.framework_for(run).online).values()]


def test_the_headline_rows_are_some_of_the_papers() -> None:
    gpu, paper = (set(TABLE(profile, "imagenet100").names) for profile in ("gpu", "paper"))
    assert gpu < paper
    assert f"simclr/dual_gate/element/t{imagenet100.REDUCTION}" in gpu
