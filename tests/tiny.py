"""Runs small enough for tests: seconds, on the embedded digits."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from lightning_fabric import Fabric
from torch import Tensor

from bench.config.framework import (
    BarlowTwinsSpec,
    BYOLSpec,
    MoCoSpec,
    SimCLRSpec,
    SimSiamSpec,
    SupervisedSpec,
    VICRegSpec,
)
from bench.config.run import SMALL_IMAGES, DataSpec, EncoderSpec, OptimizerSpec, Run
from bench.config.sparsity import SparsitySpec
from bench.config.views import ViewSpec
from bench.data import dataset
from bench.ticks import Tick, silent
from bench.training import checkpoint, loop, parts
from bench.training.exported import Exported, exported
from bench.training.facts import facts
from bench.training.mask_file import maps, packed
from bench.training.state import Training
from methods import METHODS
from tests.strategies import DENSITIES, counted_once, setting_of, shapes_of

BATCH = 8  # images: what a test costs grows with it, and no law of a run asks for more
SCORED = 16  # images that gates are measured on, of 500: a hundred cost as much as the training

FRAMEWORKS = {
    "simclr": SimCLRSpec(hidden_dim=16, output_dim=16, temperature=0.2),
    "moco": MoCoSpec(hidden_dim=16, output_dim=16, temperature=0.2, ema_start=0.9, ema_end=0.9, queue_size=8),
    "barlow_twins": BarlowTwinsSpec(hidden_dim=16, output_dim=16, redundancy_weight=0.005, loss_scale=0.1),
    "simsiam": SimSiamSpec(hidden_dim=16, output_dim=16, prediction_dim=8),
    "vicreg": VICRegSpec(hidden_dim=16, output_dim=16, loss_scale=0.04),
    "supervised": SupervisedSpec(hidden_dim=0, output_dim=10),
    "byol": BYOLSpec(hidden_dim=16, output_dim=16, prediction_dim=16, ema_start=0.9, ema_end=1.0),
}


CONTROL: Mapping[str, Any] = {"control_pixels": 16, "control_fraction": 0.4}


def tiny_run(
    framework: str,
    method: str,
    *,
    granularity: str = "",
    density: float = 0.2,
    gap: float = 0.0,
    seed: int = 0,
    epochs: int = 5,
    batch: int = BATCH,
) -> Run:
    """Return a run of 20 optimizer steps, 4 an epoch; ramps take steps 6 to 14. Without a shape: one that suits."""
    shapes = granularity or shapes_of(method)
    density = density if granularity else DENSITIES.get(shapes, density)
    if method in METHODS:
        point = setting_of(method, shapes, density=density, gap=gap)
        density, gap = point.density, point.gap
    return Run(
        framework=FRAMEWORKS[framework],
        sparsity=SparsitySpec(
            method=method,
            granularity=shapes,
            density=density,
            gap=gap,
        ),
        data=DataSpec(name="digits", train_images=4 * batch),
        encoder=EncoderSpec(name="resnet-9", width=0.0625),
        views=ViewSpec(pipeline="batched-v1", recipe="digits", **(CONTROL if method == SMALL_IMAGES else {})),
        optimizer=OptimizerSpec(name="sgd", learning_rate=0.05, weight_decay=5e-4, batch_images=batch, epochs=epochs),
        seed=seed,
    )


def gated_run(
    framework: str, method: str, reduction: float, *, granularity: str = "element", epochs: int = 3, batch: int = BATCH
) -> Run:
    """Return a run of 4 optimizer steps an epoch that steers on 24 held-out images; ``dense`` holds them out too."""
    run = tiny_run(framework, "dense", epochs=epochs, batch=batch)
    gates = SparsitySpec(method=method, granularity=granularity, reduction=reduction)
    return dataclasses.replace(
        run,
        data=dataclasses.replace(run.data, train_images=4 * batch + 24, held_out_images=24),
        sparsity=run.sparsity if method == "dense" else gates,
        encoder=run.encoder if granularity == "element" else dataclasses.replace(run.encoder, width=0.125),
    )


def dataset_of(run: Run, cache: Path) -> dataset.Dataset:
    return dataset.load(run.data, None, cache)


@dataclass(frozen=True, kw_only=True)
class Pretrained(Exported):
    """A trained run with all that is exact about it."""

    trained: Training
    facts: dict[str, object]
    masks: dict[str, Tensor]


def pretrained(
    run: Run,
    folder: Path,
    tick: Tick = silent,
    *,
    compiles: bool = False,
    leaves: int | None = None,
    scored: int = SCORED,
) -> Pretrained:
    """Train a run in a folder, and go on from its checkpoint there.

    Args:
        run: the run.
        folder: of its checkpoint.
        tick: called after every step.
        compiles: train encoders as torch.compile translates them.
        leaves: keep the checkpoint behind this step, as if the run had been interrupted there, but train to the end: a
            second training up to it, to be interrupted, costs a third more. None keeps the last one.
        scored: how many images gates are measured on.
    """
    images, fabric = dataset_of(run, folder / "cache"), _fabric(run)
    path, seconds = folder / "checkpoint.pt", 10.0 if leaves is None else -1.0  # the latter: one behind every step

    def save(*args: Any) -> None:
        if leaves in {None, args[-1]["step"]}:
            unread(*args)

    with counted_once(), patch.object(checkpoint, "save", save):  # the former elsewhere than in end_to_end/, too
        trained = loop.pretrain(
            run, images, path, fabric=fabric, tick=tick, checkpoint_seconds=seconds, compiles=compiles
        )
        return ended(run, images, trained, scored=scored)


_FABRICS, _SAVE = dict[str, Fabric](), checkpoint.save


def _fabric(run: Run) -> Fabric:
    """Return what runs of one precision share: to build it, all installed packages are asked for plugins."""
    if run.optimizer.precision not in _FABRICS:
        _FABRICS[run.optimizer.precision] = parts.fabric_for(run)
    return _FABRICS[run.optimizer.precision]


def unread(*args: Any) -> None:
    """Write a checkpoint that is not read back at once: a sixth of a short run. Whoever resumes reads it."""
    with patch.object(torch, "load"):
        _SAVE(*args)


def ended(run: Run, images: dataset.Dataset, trained: Training, *, scored: int = SCORED) -> Pretrained:
    """Return what a job makes of a trained run, less its scores; its gates are measured on fewer images."""
    made = exported(trained, images.test.images[:scored])
    return Pretrained(
        encoder=made.encoder,
        target=made.target,
        gates=made.gates,
        trained=trained,
        facts=facts(run, images, trained, made),
        masks=trained.masks | packed("final", trained.framework) | maps(made.gates, images),
    )
