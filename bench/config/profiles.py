"""Sizes of experiments: ``smoke`` (minutes on 2 cores), ``cpu`` (an hour a seed), ``paper`` (GPU days)."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.config.framework import (
    BarlowTwinsSpec,
    BYOLSpec,
    MoCoSpec,
    SimCLRSpec,
    SimSiamSpec,
    SupervisedSpec,
    VICRegSpec,
)
from bench.config.recipes import CIFAR10_CLASSES, Recipe, digits, first_lessons, lars, sgd, small
from bench.config.run import (
    STAND_IN,
    UNTRAINED,
    DataSpec,
    EncoderSpec,
    EvaluationSpec,
    Pipeline,
    Run,
    SparsitySpec,
    ViewSpec,
)
from bench.errors import RunError, unknown

RAMPED = ("gradual", "granet", "synchronized")  # go from dense to sparse; with or without another allocation's suffix


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One size.

    Attributes:
        train_images: the first so many in canonical order; 0 means all.
        pipeline: of the views.
        recipes: one per framework.
        densities: the sparse points.
        seeds: seeds of a user's table unless asked otherwise.
        stand_in_recipes: recipes of its own for the stand-in, which has fewer images; none means: those of others.
        small_pixels: side of the views of the first steps, on all data but the stand-in; 0 leaves them whole.
        small_fraction: share of the steps that see such views.
        ramp: shares of the steps at which dense-to-sparse methods start and end to prune. The default is that of the
            authors of synchronized pruning.
        gap: density gap of synchronized pruning. 0.30 is the authors' only published setting (their N:M script).
        without_gap: whether synchronized pruning is also run with equal masks in both branches.
    """

    encoder: EncoderSpec
    train_images: int
    pipeline: Pipeline
    recipes: Mapping[str, Recipe]
    densities: tuple[float, ...]
    seeds: int
    stand_in_recipes: Mapping[str, Recipe] = field(default_factory=dict)
    small_pixels: int = 0
    small_fraction: float = 0.0
    ramp: tuple[float, float] = (0.30, 0.68)
    gap: float = 0.30
    without_gap: bool = False
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)

    @property
    def gaps(self) -> tuple[float, ...]:
        """The density gaps of synchronized pruning's rows."""
        return (self.gap, 0.0) if self.without_gap else (self.gap,)

    def data(self, name: str) -> DataSpec:
        """Return the images; the stand-in is used whole."""
        return DataSpec(name=name, train_images=0 if name == STAND_IN else self.train_images)

    def views(self, name: str, framework: str) -> ViewSpec:
        """Return the views of a framework; digits need their own (no flips), at one size."""
        if name == STAND_IN:
            return ViewSpec(pipeline=self.pipeline, recipe=STAND_IN)
        return ViewSpec(
            pipeline=self.pipeline,
            recipe=self.recipes[framework].views or framework,
            small_pixels=self.small_pixels,
            small_fraction=self.small_fraction,
        )

    def run(self, framework: str, sparsity: SparsitySpec, data: str) -> Run:
        """Return the run of one cell, seed 0.

        Raises:
            RunError: the profile has no such framework.
        """
        if framework not in self.recipes:
            raise RunError(unknown("framework", framework, self.recipes))
        recipe = (self.stand_in_recipes if data == STAND_IN else {}).get(framework, self.recipes[framework])
        if sparsity.method.partition("_")[0] in RAMPED:
            start, end = self.ramp
            sparsity = dataclasses.replace(sparsity, start_fraction=start, end_fraction=end)
        epochs = 0 if sparsity.method == UNTRAINED else recipe.optimizer.epochs
        return Run(
            framework=recipe.framework,
            sparsity=sparsity,
            data=self.data(data),
            encoder=self.encoder,
            views=self.views(data, framework),
            optimizer=dataclasses.replace(recipe.optimizer, epochs=epochs),
            evaluation=self.evaluation,
            seed=0,
        )


PROFILES: dict[str, Profile] = {
    "smoke": Profile(
        encoder=EncoderSpec(name="resnet-9", width=0.125),
        train_images=12_800,
        pipeline="batched-v1",
        recipes=first_lessons(),
        densities=(0.02,),
        seeds=1,
        stand_in_recipes=digits(),
        small_pixels=16,
        small_fraction=0.85,
        ramp=(0.20, 0.50),
    ),
    "cpu": Profile(
        encoder=EncoderSpec(name="resnet-9", width=0.125),
        train_images=12_800,
        pipeline="batched-v1",
        recipes=small(epochs=4, byol_epochs=4, ema_start=0.99, byol_ema_start=0.95),
        densities=(0.10, 0.02),
        seeds=1,
        ramp=(0.20, 0.50),
    ),
    # solo-learn's CIFAR recipes (scripts/pretrain/cifar/{simclr,byol}.yaml), the code base of the SyncCP authors:
    # SimCLR lr 0.4, wd 1e-4, temperature 0.2, heads 2048-256; BYOL lr 1.0, wd 1e-5, heads 4096-256, EMA 0.99 to 1.
    # mocov2plus.yaml: SGD lr 0.3, wd 1e-4, temperature 0.2, heads 2048-256, EMA 0.99 to 0.999; but its queue of 32,768
    # holds two thirds of CIFAR-10, so ours is 8,192, Lightly's larger one. barlow.yaml: lr 0.3, wd 1e-4, heads
    # 2048-2048, loss scaled by 0.1, lambda 0.0051 (the code's default). Supervised: He et al. 2016 (ResNet),
    # section 3.4: SGD, lr 0.1 at batch 256, wd 1e-4; epochs, warm-up and cosine are those of the other rows.
    # simsiam.yaml: SGD lr 0.5 (theirs stays constant for the predictor), wd 1e-5, heads 2048-2048 and 512. vicreg.yaml:
    # lr 0.3, wd 1e-4, heads 2048-2048; their variance term counts twice, Lightly's once, as in the paper.
    "paper": Profile(
        encoder=EncoderSpec(name="resnet-18", width=1.0),
        train_images=0,
        pipeline="lightly",
        recipes={
            "simclr": Recipe(
                framework=SimCLRSpec(hidden_dim=2048, output_dim=256, temperature=0.2),
                optimizer=lars(0.4, 1e-4),
            ),
            "moco": Recipe(
                framework=MoCoSpec(
                    hidden_dim=2048,
                    output_dim=256,
                    temperature=0.2,
                    ema_start=0.99,
                    ema_end=0.999,
                    queue_size=8192,
                ),
                optimizer=sgd(0.3),
            ),
            "barlow_twins": Recipe(
                framework=BarlowTwinsSpec(
                    hidden_dim=2048,
                    output_dim=2048,
                    redundancy_weight=0.0051,
                    loss_scale=0.1,
                ),
                optimizer=lars(0.3, 1e-4),
            ),
            "supervised": Recipe(
                framework=SupervisedSpec(hidden_dim=0, output_dim=CIFAR10_CLASSES),
                optimizer=sgd(0.1),
            ),
            "byol": Recipe(
                framework=BYOLSpec(
                    hidden_dim=4096,
                    output_dim=256,
                    prediction_dim=4096,
                    ema_start=0.99,
                    ema_end=1.0,
                ),
                optimizer=lars(1.0, 1e-5),
            ),
            "simsiam": Recipe(
                framework=SimSiamSpec(hidden_dim=2048, output_dim=2048, prediction_dim=512),
                optimizer=dataclasses.replace(sgd(0.5), weight_decay=1e-5),
            ),
            "vicreg": Recipe(
                framework=VICRegSpec(hidden_dim=2048, output_dim=2048, loss_scale=1.0),
                optimizer=lars(0.3, 1e-4),
            ),
        },
        densities=(0.20, 0.10, 0.05),
        seeds=3,
        without_gap=True,
        evaluation=EvaluationSpec(probe="sgd"),
    ),
}
