"""Sizes of experiments: ``smoke`` (minutes on 2 cores), ``cpu`` (an hour a seed), ``gpu`` (a day), ``paper``."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.config.published import cifar, imagenet100, imagenet100_resnet50, rebatched
from bench.config.recipes import Recipe, digits, first_lessons, smoke
from bench.config.run import SMALL_IMAGES, STAND_IN, UNTRAINED, DataSpec, EncoderSpec, EvaluationSpec, Run
from bench.config.sparsity import SparsitySpec
from bench.config.views import Pipeline, ViewSpec
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
        small_fraction: share of the steps that see such views, unless a recipe has its own.
        control_pixels: side of the views of the first steps of ``dense_small_images``; 0 where there is no such row.
        control_shares: density -> share of the steps that see such views, so that the row takes the training MACs of
            ``gradual_erk`` at that density on CIFAR-10, to the nearest step (``bench.tables.control``). As numbers,
            because counting MACs takes an encoder, and tables are laid out without.
        ramp: shares of the steps at which dense-to-sparse methods start and end to prune. The default is that of the
            authors of synchronized pruning.
        gap: density gap of synchronized pruning. 0.30 is the authors' only published setting (their N:M script).
        without_gap: whether synchronized pruning is also run with equal masks in both branches.
        evaluation: how the exported encoders are scored.
        image_size: side in pixels of the squares that images are made when they are loaded; 0 takes them as they are.
        crop_size: side in pixels of the views and of what is scored; 0: the images' side.
        held_out_images: train images that no run is trained on; 0 where only runs with gates need such.
        wants_gpu: whether a CPU would take days, so that it is refused unless it is forced.
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
    control_pixels: int = 0
    control_shares: Mapping[float, float] = field(default_factory=dict)
    ramp: tuple[float, float] = (0.30, 0.68)
    gap: float = 0.30
    without_gap: bool = False
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    image_size: int = 0
    crop_size: int = 0
    held_out_images: int = 0
    wants_gpu: bool = False

    @property
    def gaps(self) -> tuple[float, ...]:
        """The density gaps of synchronized pruning's rows."""
        return (self.gap, 0.0) if self.without_gap else (self.gap,)

    def data(self, name: str) -> DataSpec:
        """Return the images; the stand-in is used whole."""
        return DataSpec(
            name=name,
            train_images=0 if name == STAND_IN else self.train_images,
            held_out_images=self.held_out_images,
            image_size=self.image_size,
            crop_size=self.crop_size,
        )

    def views(self, name: str, framework: str) -> ViewSpec:
        """Return the views of a framework; digits need their own (no flips), at one size."""
        if name == STAND_IN:
            return ViewSpec(pipeline=self.pipeline, recipe=STAND_IN)
        recipe = self.recipes[framework]
        return ViewSpec(
            pipeline=self.pipeline,
            recipe=recipe.views or framework,
            small_pixels=self.small_pixels,
            small_fraction=recipe.small_fraction or self.small_fraction,
        )

    def control_views(self, views: ViewSpec, density: float, data: str) -> ViewSpec:
        """Return the views of ``dense_small_images`` at a density.

        Raises:
            RunError: how many of its steps see smaller views is not known there.
        """
        shares = {} if data == STAND_IN else self.control_shares
        if density not in shares:
            known = f"{', '.join(f'd{each:.2f}' for each in shares)} alone" if shares else "no density"
            raise RunError(
                f"{SMALL_IMAGES} at density {density:g} on {data}: how many steps see smaller views is settled at "
                f"{known} there. Take such a point, or the dense cell, and set its views.small_pixels and "
                "views.small_fraction."
            )
        return dataclasses.replace(views, control_pixels=self.control_pixels, control_fraction=shares[density])

    def run(self, framework: str, sparsity: SparsitySpec, data: str) -> Run:
        """Return the run of one cell, seed 0.

        Raises:
            RunError: the profile has no such framework, or no such control.
        """
        if framework not in self.recipes:
            raise RunError(unknown("framework", framework, self.recipes))
        recipe = (self.stand_in_recipes if data == STAND_IN else {}).get(framework, self.recipes[framework])
        if sparsity.method.partition("_")[0] in RAMPED:
            start, end = self.ramp
            sparsity = dataclasses.replace(sparsity, start_fraction=start, end_fraction=end)
        views = self.views(data, framework)
        if sparsity.method == SMALL_IMAGES:
            views = self.control_views(views, sparsity.density, data)
        epochs = 0 if sparsity.method == UNTRAINED else recipe.optimizer.epochs
        return Run(
            framework=recipe.framework,
            sparsity=sparsity,
            data=self.data(data),
            encoder=self.encoder,
            views=views,
            optimizer=dataclasses.replace(recipe.optimizer, epochs=epochs),
            evaluation=self.evaluation,
            seed=0,
        )


PROFILES: dict[str, Profile] = {
    "smoke": Profile(
        encoder=EncoderSpec(name="resnet-9", width=0.125),
        train_images=12_800,
        pipeline="batched-v1",
        recipes=smoke(),
        densities=(0.02,),
        seeds=1,
        stand_in_recipes=digits(),
        small_pixels=16,
        small_fraction=0.85,
        control_pixels=8,
        control_shares={0.02: 0.868333},
        ramp=(0.20, 0.50),
    ),
    # All images twice, in under three CPU-minutes (results/pilot.md). An encoder of twice the width takes ten on the
    # machine of the references, and its table more than the ninety minutes that an evening has.
    "cpu": Profile(
        encoder=EncoderSpec(name="resnet-9", width=0.125),
        train_images=0,
        pipeline="batched-v1",
        recipes=rebatched(first_lessons(), batch_images=128, epochs=2, precision="32-true"),
        densities=(0.10, 0.02),
        seeds=1,
        stand_in_recipes=digits(),
        small_pixels=16,
        small_fraction=0.85,
        control_pixels=8,
        control_shares={0.10: 0.889744, 0.02: 0.947436},
        ramp=(0.20, 0.50),
        without_gap=True,
    ),
    # A day on one GPU (results/gpu.md): the paper's sizes in batches twice as large, for a fifth of the epochs, at two
    # densities.
    "gpu": Profile(
        encoder=EncoderSpec(name="resnet-18", width=1.0),
        train_images=0,
        pipeline="batched-v1",
        recipes=rebatched(cifar(), batch_images=512, epochs=200, precision="bf16-mixed"),
        densities=(0.10, 0.05),
        seeds=1,
        wants_gpu=True,
    ),
    "paper": Profile(
        encoder=EncoderSpec(name="resnet-18", width=1.0),
        train_images=0,
        pipeline="lightly",
        recipes=cifar(),
        densities=(0.20, 0.10, 0.05),
        seeds=3,
        control_pixels=16,
        control_shares={0.20: 0.363246, 0.10: 0.535508, 0.05: 0.623415},
        without_gap=True,
        evaluation=EvaluationSpec(probe="sgd"),
        wants_gpu=True,
    ),
}

_IMAGENET_GPU = Profile(
    encoder=EncoderSpec(name="resnet-18", width=1.0, stem="imagenet"),
    train_images=0,
    pipeline="batched-v1",
    recipes=rebatched(imagenet100(), batch_images=256, epochs=100, precision="bf16-mixed"),
    densities=(0.10,),
    seeds=1,
    image_size=256,  # as usual: short side 256, crops of 224
    crop_size=224,
    held_out_images=1000,  # of all rows, so that those with gates are trained on the images of the others
    wants_gpu=True,
)
# Sizes of data sets whose images are not CIFAR's: other stems, views and recipes at the same budget of machines.
# And CIFAR-100 at the cpu size: its fixed part has 20,000 train images, in as many steps as CIFAR-10's 50,000.
OF_DATA: dict[str, dict[str, Profile]] = {
    "cifar100": {
        "cpu": dataclasses.replace(
            PROFILES["cpu"],
            train_images=20_000,
            recipes=rebatched(first_lessons(), batch_images=128, epochs=5, precision="32-true"),
        ),
    },
    "imagenet100": {
        "gpu": _IMAGENET_GPU,
        "paper": dataclasses.replace(
            _IMAGENET_GPU,
            pipeline="lightly",
            recipes=rebatched(imagenet100(), batch_images=256, epochs=400, precision="bf16-mixed"),
            densities=(0.10, 0.05),
            seeds=3,
            without_gap=True,
            evaluation=EvaluationSpec(probe="sgd"),
        ),
    },
}


# Recipes that are published for another encoder than the size's own; frameworks without such keep theirs.
OF_ENCODER: dict[tuple[str, str], dict[str, Mapping[str, Recipe]]] = {
    ("imagenet100", "resnet-50"): {
        "gpu": rebatched(imagenet100_resnet50(), batch_images=256, epochs=100, precision="bf16-mixed"),
        "paper": rebatched(imagenet100_resnet50(), batch_images=128, epochs=200, precision="bf16-mixed"),
    },
}


def profile_of(name: str, data: str, encoder: str = "") -> Profile:
    """Return a size for a data set: its own where it has one, else that of CIFAR.

    Args:
        name: a key of ``PROFILES``.
        data: the data set's name.
        encoder: that will take the place of the size's own, which stays in what is returned; empty for none. The
            recipes are then those that are published for it.
    """
    size = OF_DATA.get(data, {}).get(name, PROFILES[name])
    published = OF_ENCODER.get((data, encoder), {}).get(name, {})
    return dataclasses.replace(size, recipes={**size.recipes, **published}) if published else size
