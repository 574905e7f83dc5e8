"""How each framework is trained: its constants and its optimizer, with sources."""

import dataclasses
from dataclasses import dataclass

from bench.config.framework import (
    BarlowTwinsSpec,
    BYOLSpec,
    FrameworkSpec,
    MoCoSpec,
    SimCLRSpec,
    SimSiamSpec,
    SupervisedSpec,
    VICRegSpec,
)
from bench.config.run import OptimizerSpec

CIFAR10_CLASSES = 10  # and the stand-in's


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A framework's constants and how it is trained.

    Attributes:
        views: a key of the view recipes; empty means the framework's own.
        small_fraction: share of the steps that see smaller views, where the profile has such; 0 means the profile's.
    """

    framework: FrameworkSpec
    optimizer: OptimizerSpec
    views: str = ""
    small_fraction: float = 0.0

    def longer(self, *, epochs: int, small_fraction: float) -> "Recipe":
        """Return the recipe with more epochs, 5 % of them warm-up, and another share of steps on smaller views."""
        optimizer = dataclasses.replace(self.optimizer, epochs=epochs, warmup_epochs=epochs / 20)
        return dataclasses.replace(self, optimizer=optimizer, small_fraction=small_fraction)


def small(*, epochs: int, byol_epochs: int, ema_start: float, byol_ema_start: float) -> dict[str, Recipe]:
    """Return recipes for small encoders, after Lightly's CIFAR-10 script.

    From ``docs/source/getting_started/benchmarks/cifar10_benchmark.py``: SGD with learning rate 0.06, momentum 0.9 and
    weight decay 5e-4, a cosine. Ours, chosen on single runs scored on validation images (results/pilot.md):
    batches of 32, because steps are what a run of minutes lacks; heads of an eighth of theirs; SimCLR's and MoCo's
    temperature 0.2 (theirs 0.5 and 0.1); a MoCo queue of 256, as the stand-in has 1,297 images; EMA starts below theirs
    of 0.99, because the target has to leave its random start; BYOL's warm-up and its weight decay of 2e-3, without
    which some seeds do not leave it; Barlow Twins' lambda 0.001 (theirs 0.005), as batches of 32 estimate the
    off-diagonal correlations poorly, and its loss scaled as in solo-learn's CIFAR recipe. SimSiam and VICReg, which
    no table has yet, share its heads; VICReg's loss is scaled so that its invariance has weight 1.
    """
    optimizer = OptimizerSpec(name="sgd", learning_rate=0.06, weight_decay=5e-4, batch_images=32, epochs=epochs)
    hidden = 64
    return {
        "simclr": Recipe(
            framework=SimCLRSpec(hidden_dim=hidden, output_dim=128, temperature=0.2),
            optimizer=optimizer,
        ),
        "moco": Recipe(
            framework=MoCoSpec(
                hidden_dim=hidden,
                output_dim=128,
                temperature=0.2,
                ema_start=ema_start,
                ema_end=0.999,
                queue_size=256,
            ),
            optimizer=optimizer,
        ),
        "barlow_twins": Recipe(
            framework=BarlowTwinsSpec(
                hidden_dim=4 * hidden,
                output_dim=4 * hidden,
                redundancy_weight=0.001,
                loss_scale=0.1,
            ),
            optimizer=optimizer,
        ),
        "supervised": Recipe(
            framework=SupervisedSpec(hidden_dim=0, output_dim=CIFAR10_CLASSES),
            optimizer=optimizer,
        ),
        "byol": Recipe(
            framework=BYOLSpec(
                hidden_dim=hidden,
                output_dim=hidden,
                prediction_dim=hidden,
                ema_start=byol_ema_start,
                ema_end=1.0,
            ),
            optimizer=dataclasses.replace(optimizer, weight_decay=2e-3, warmup_epochs=0.5, epochs=byol_epochs),
        ),
        "simsiam": Recipe(
            framework=SimSiamSpec(hidden_dim=4 * hidden, output_dim=4 * hidden, prediction_dim=hidden),
            optimizer=optimizer,
        ),
        "vicreg": Recipe(
            framework=VICRegSpec(hidden_dim=4 * hidden, output_dim=4 * hidden, loss_scale=0.04),
            optimizer=optimizer,
        ),
    }


def first_lessons() -> dict[str, Recipe]:
    """Return recipes for a first look at CIFAR-10, which the ``cpu`` size takes in larger batches.

    Ours, chosen on validation images (results/pilot.md): batches of 64, a warm-up of 5 % of the steps for all of them,
    heads four times as wide as those of ``small``, and milder views, without which MoCo and Barlow Twins learn half
    as much. BYOL has its own views, and gains nothing by others. SimSiam and VICReg, which no table has, keep the
    constants of ``small``.
    """
    optimizer = OptimizerSpec(
        name="sgd", learning_rate=0.06, weight_decay=5e-4, batch_images=64, epochs=2, warmup_epochs=0.1
    )
    longer = dataclasses.replace(optimizer, epochs=3, warmup_epochs=0.15)
    return small(epochs=4, byol_epochs=4, ema_start=0.98, byol_ema_start=0.8) | {
        "simclr": Recipe(
            framework=SimCLRSpec(hidden_dim=256, output_dim=128, temperature=0.2), optimizer=optimizer, views="soft"
        ),
        "moco": Recipe(
            framework=MoCoSpec(
                hidden_dim=256, output_dim=128, temperature=0.2, ema_start=0.98, ema_end=0.999, queue_size=512
            ),
            optimizer=longer,
            views="soft",
        ),
        "barlow_twins": Recipe(
            framework=BarlowTwinsSpec(hidden_dim=512, output_dim=512, redundancy_weight=0.01, loss_scale=0.02),
            optimizer=dataclasses.replace(optimizer, learning_rate=0.05, weight_decay=5e-3),
            views="soft",
        ),
        "byol": Recipe(
            framework=BYOLSpec(hidden_dim=256, output_dim=256, prediction_dim=256, ema_start=0.95, ema_end=1.0),
            optimizer=dataclasses.replace(optimizer, learning_rate=0.12),
        ),
        "supervised": Recipe(framework=SupervisedSpec(hidden_dim=0, output_dim=CIFAR10_CLASSES), optimizer=optimizer),
    }


def smoke() -> dict[str, Recipe]:
    """Return the recipes of the smoke tables on CIFAR: what can be learnt in some 20 CPU-seconds, BYOL in 85.

    Those of ``first_lessons``, but for three with as many steps as they need to leave their start behind, nearly all on
    smaller images, and for BYOL with a larger learning rate: chosen on validation images as well (results/pilot.md).
    """
    recipes = first_lessons()
    byol = recipes["byol"].longer(epochs=9, small_fraction=0.98)
    return recipes | {
        "simclr": recipes["simclr"].longer(epochs=3, small_fraction=0.98),
        "moco": recipes["moco"].longer(epochs=4, small_fraction=0.95),
        "byol": dataclasses.replace(byol, optimizer=dataclasses.replace(byol.optimizer, learning_rate=0.18)),
    }


def digits() -> dict[str, Recipe]:
    """Return the recipes of the smoke tables on the stand-in: 1,297 digits, 40 steps an epoch.

    Ours, chosen on validation images (results/pilot.md): those of ``small`` with a warm-up of 5 % of the steps, and for
    MoCo a queue of two batches and a target that follows faster, with which seeds differ by 1.5 points instead of 4.6.
    """
    recipes = small(epochs=7, byol_epochs=7, ema_start=0.95, byol_ema_start=0.8)
    moco = recipes["moco"]
    assert isinstance(moco.framework, MoCoSpec)
    recipes["moco"] = dataclasses.replace(moco, framework=dataclasses.replace(moco.framework, queue_size=64))
    return {
        name: dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, warmup_epochs=0.35))
        for name, recipe in recipes.items()
    }


def sgd(learning_rate: float) -> OptimizerSpec:
    """Return the schedule of ``lars`` with SGD and weight decay 1e-4."""
    return OptimizerSpec(
        name="sgd",
        learning_rate=learning_rate,
        weight_decay=1e-4,
        batch_images=256,
        epochs=1000,
        warmup_epochs=10,
    )


def lars(learning_rate: float, weight_decay: float) -> OptimizerSpec:
    """Return solo-learn's CIFAR schedule: batch 256, 1000 epochs, 10 of warm-up, LARS with eta 0.02, clipped."""
    return OptimizerSpec(
        name="lars",
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batch_images=256,
        epochs=1000,
        trust_coefficient=0.02,
        clip_lr=True,
        warmup_epochs=10,
    )
