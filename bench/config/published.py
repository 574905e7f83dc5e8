"""Published recipes at the size of the papers, with sources; and how they are brought to other batches."""

import dataclasses
from collections.abc import Mapping

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
from bench.config.recipes import CIFAR10_CLASSES, Recipe, lars, sgd
from bench.config.run import OptimizerSpec, Precision


def cifar() -> dict[str, Recipe]:
    """Return solo-learn's CIFAR recipes (scripts/pretrain/cifar), the code base of the SyncCP authors.

    simclr.yaml: lr 0.4, wd 1e-4, temperature 0.2, heads 2048-256; byol.yaml: lr 1.0, wd 1e-5, heads 4096-256, EMA 0.99
    to 1. mocov2plus.yaml: SGD lr 0.3, wd 1e-4, temperature 0.2, heads 2048-256, EMA 0.99 to 0.999; but its queue of
    32,768 holds two thirds of CIFAR-10, so ours is 8,192, Lightly's larger one. barlow.yaml: lr 0.3, wd 1e-4, heads
    2048-2048, loss scaled by 0.1, lambda 0.0051 (the code's default). Supervised: He et al. 2016 (ResNet), section 3.4:
    SGD, lr 0.1 at batch 256, wd 1e-4; epochs, warm-up and cosine are those of the other rows. simsiam.yaml: SGD lr 0.5
    (theirs stays constant for the predictor), wd 1e-5, heads 2048-2048 and 512. vicreg.yaml: lr 0.3, wd 1e-4, heads
    2048-2048; their variance term counts twice, Lightly's once, as in the paper.
    """
    return {
        "simclr": Recipe(
            framework=SimCLRSpec(hidden_dim=2048, output_dim=256, temperature=0.2), optimizer=lars(0.4, 1e-4)
        ),
        "moco": Recipe(
            framework=MoCoSpec(
                hidden_dim=2048, output_dim=256, temperature=0.2, ema_start=0.99, ema_end=0.999, queue_size=8192
            ),
            optimizer=sgd(0.3),
        ),
        "barlow_twins": Recipe(
            framework=BarlowTwinsSpec(hidden_dim=2048, output_dim=2048, redundancy_weight=0.0051, loss_scale=0.1),
            optimizer=lars(0.3, 1e-4),
        ),
        "supervised": Recipe(framework=SupervisedSpec(hidden_dim=0, output_dim=CIFAR10_CLASSES), optimizer=sgd(0.1)),
        "byol": Recipe(
            framework=BYOLSpec(hidden_dim=4096, output_dim=256, prediction_dim=4096, ema_start=0.99, ema_end=1.0),
            optimizer=lars(1.0, 1e-5),
        ),
        "simsiam": Recipe(
            framework=SimSiamSpec(hidden_dim=2048, output_dim=2048, prediction_dim=512),
            optimizer=dataclasses.replace(sgd(0.5), weight_decay=1e-5),
        ),
        "vicreg": Recipe(
            framework=VICRegSpec(hidden_dim=2048, output_dim=2048, loss_scale=1.0), optimizer=lars(0.3, 1e-4)
        ),
    }


def rebatched(
    recipes: Mapping[str, Recipe], *, batch_images: int, epochs: int, precision: Precision
) -> dict[str, Recipe]:
    """Return recipes for larger batches and fewer epochs.

    Learning rates grow with the batch, linearly (Goyal et al. 2017, arXiv 1706.02677; solo-learn's own code does the
    same to the rates of its scripts: ``solo/args/pretrain.py``). Momenta of an EMA are raised to the power by which the
    batch grows, so that the target remembers as many images as before (Busbridge et al. 2023, arXiv 2307.13813).
    Warm-up keeps its epochs. Weight decay, temperatures, heads and queue stay: neither source changes these.

    Args:
        recipes: by framework.
        batch_images: of the new batches.
        epochs: of the new runs.
        precision: of the new runs.
    """
    return {name: _rebatched(recipe, batch_images, epochs, precision) for name, recipe in recipes.items()}


def _rebatched(recipe: Recipe, batch_images: int, epochs: int, precision: Precision) -> Recipe:
    optimizer = recipe.optimizer
    growth = batch_images / optimizer.batch_images
    return dataclasses.replace(
        recipe,
        framework=_remembering(recipe.framework, growth),
        optimizer=dataclasses.replace(
            optimizer,
            learning_rate=optimizer.learning_rate * growth,
            batch_images=batch_images,
            epochs=epochs,
            precision=precision,
        ),
    )


def _remembering(framework: FrameworkSpec, growth: float) -> FrameworkSpec:
    """Return the framework with an EMA, if it has one, that remembers as many images in batches ``growth`` as large."""
    if not isinstance(framework, BYOLSpec | MoCoSpec):
        return framework
    start, end = (round(momentum**growth, 6) for momentum in (framework.ema_start, framework.ema_end))
    return dataclasses.replace(framework, ema_start=start, ema_end=end)


def imagenet100() -> dict[str, Recipe]:
    """Return solo-learn's ImageNet-100 recipes (scripts/pretrain/imagenet-100, commit 9187ea3), for ResNet-18.

    400 epochs in batches of 2 x 128 at 16 bits, LARS with eta 0.02, clipped, 10 epochs of warm-up. simclr.yaml: lr 0.3,
    wd 1e-4, temperature 0.2, heads 4096-512. byol.yaml: lr 0.5, wd 1e-6, heads 4096-256 and 8192, EMA 0.99 to 1.
    barlow.yaml: lr 0.3, wd 1e-4, heads 2048-2048, loss scaled by 0.1, lambda 0.0051 (the code's default).
    mocov2plus.yaml: SGD lr 0.3, wd 1e-4, temperature 0.2, heads 2048-256, EMA 0.99 to 0.999; its queue of 65,536 holds
    half of the images, so ours is 16,384. Theirs normalises batches over both GPUs; ours over the images of each (of a
    run on one GPU: over all). Supervised, SimSiam and VICReg have no row there.
    """
    cifar_sized = cifar()
    return {
        "simclr": Recipe(
            framework=SimCLRSpec(hidden_dim=4096, output_dim=512, temperature=0.2),
            optimizer=_of_400_epochs(lars(0.3, 1e-4)),
            views="simclr-imagenet",
        ),
        "moco": Recipe(
            framework=MoCoSpec(
                hidden_dim=2048, output_dim=256, temperature=0.2, ema_start=0.99, ema_end=0.999, queue_size=16_384
            ),
            optimizer=_of_400_epochs(sgd(0.3)),
            views="moco-imagenet",
        ),
        "barlow_twins": Recipe(
            framework=cifar_sized["barlow_twins"].framework,
            optimizer=_of_400_epochs(lars(0.3, 1e-4)),
            views="barlow_twins-imagenet",
        ),
        "byol": Recipe(
            framework=BYOLSpec(hidden_dim=4096, output_dim=256, prediction_dim=8192, ema_start=0.99, ema_end=1.0),
            optimizer=_of_400_epochs(lars(0.5, 1e-6)),
            views="byol-imagenet",
        ),
    }


def imagenet100_resnet50() -> dict[str, Recipe]:
    """Return what is published for ResNet-50 on ImageNet-100, of frameworks that the suite has: MoCo v2 alone.

    SsnL/moco_align_uniform (Wang and Isola 2020, arXiv 2005.10242), commit 4d690c3, README and ``main_moco.py``: MoCo
    v2's augmentations, MLP head and cosine, 200 epochs in batches of 128, SGD lr 0.03, wd 1e-4, no warm-up, temperature
    0.2, heads 2048-128, EMA 0.999: 77.54 % top-1; 76.32 % in batches of 256 at lr 0.06. Their queue of 65,536 is cut as
    for ResNet-18. solo-learn's one result with ResNet-50 for these images is of MoCo v3, which the suite has not.
    """
    return {
        "moco": Recipe(
            framework=MoCoSpec(
                hidden_dim=2048, output_dim=128, temperature=0.2, ema_start=0.999, ema_end=0.999, queue_size=16_384
            ),
            optimizer=OptimizerSpec(
                name="sgd", learning_rate=0.03, weight_decay=1e-4, batch_images=128, epochs=200, warmup_epochs=0
            ),
            views="moco-imagenet",
        ),
    }


def _of_400_epochs(optimizer: OptimizerSpec) -> OptimizerSpec:
    return dataclasses.replace(optimizer, epochs=400)
