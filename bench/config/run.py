"""What a run is: frozen values with a canonical text and a stable name."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from bench.config.cell import Point, parse_point
from bench.config.checks import at_least, fraction, named, one_of, positive, within
from bench.config.framework import ALWAYS_WRITTEN, FrameworkSpec
from bench.errors import RunError

STAND_IN = "digits"
UNTRAINED = "untrained"  # the floor of every table: a dense encoder that takes no step
SMALL_IMAGES = "dense_small_images"  # the dense control that learns from smaller images than the other rows
ScoredSplit = Literal["test", "validation"]
Stem = Literal["cifar", "imagenet"]
Pipeline = Literal["batched-v1", "lightly"]
Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """Which images.

    Attributes:
        name: ``cifar10``, ``cifar100``, ``digits`` (the embedded stand-in) or the name of an image folder.
        train_images: the first so many of the train split in canonical order; 0 means all.
        held_out_images: the last so many of those are not trained on: gates are steered by what they do there.
        evaluate_on: ``test``, or ``validation``: the last 5,000 train images in canonical order.
        image_size: side in pixels of the squares that images are made when they are loaded; 0 takes them as they are.
        crop_size: side in pixels of the views, and of the centre squares that are scored; 0: the images' side.
    """

    name: str
    train_images: int
    evaluate_on: ScoredSplit = "test"
    held_out_images: int = 0
    image_size: int = 0
    crop_size: int = 0

    def __post_init__(self) -> None:
        named("data", name=self.name)
        at_least("data", 0, train_images=self.train_images, held_out_images=self.held_out_images)
        at_least("data", 0, image_size=self.image_size, crop_size=self.crop_size)
        one_of("data", get_args(ScoredSplit), evaluate_on=self.evaluate_on)
        if 0 < self.train_images <= self.held_out_images:
            raise RunError(
                f"data.held_out_images is {self.held_out_images} of {self.train_images} train images, which leaves "
                "none to train on. Hold out fewer, or use more images."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """Which backbone. ``stem`` is ``cifar`` (3x3, stride 1, no max-pool) or ``imagenet`` (7x7, stride 2, max-pool)."""

    name: str
    width: float
    stem: Stem = "cifar"

    def __post_init__(self) -> None:
        named("encoder", name=self.name)
        positive("encoder", width=self.width)
        one_of("encoder", get_args(Stem), stem=self.stem)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSpec:
    """Which views.

    Attributes:
        pipeline: ``batched-v1`` (ours, on tensors) or ``lightly`` (Lightly's own transforms, per image).
        recipe: a key of ``bench.views.recipes.RECIPES``, e.g. ``simclr``, ``byol``, ``digits``.
        small_pixels: side that finished views are reduced to in the first steps; 0 leaves all steps at full size.
        small_fraction: share of the optimizer steps, from the first one on, that see reduced views.
        control_pixels: side that the views of a control's first steps are reduced to instead; 0 for all other rows.
            What such steps save is counted against the views that the other rows have then.
        control_fraction: share of the optimizer steps, from the first one on, that see views of that side.
    """

    pipeline: Pipeline
    recipe: str
    small_pixels: int = 0
    small_fraction: float = 0.0
    control_pixels: int = 0
    control_fraction: float = 0.0

    def __post_init__(self) -> None:
        one_of("views", get_args(Pipeline), pipeline=self.pipeline)
        named("views", recipe=self.recipe)
        at_least("views", 0, small_pixels=self.small_pixels, control_pixels=self.control_pixels)
        within("views", 0.0, 1.0, small_fraction=self.small_fraction, control_fraction=self.control_fraction)
        for name, pixels, share in (
            ("small", self.small_pixels, self.small_fraction),
            ("control", self.control_pixels, self.control_fraction),
        ):
            if bool(pixels) is not bool(share):
                raise RunError(
                    f"views.{name}_pixels is {pixels} and {name}_fraction {share}: give both, the size of the first "
                    "views and the share of the steps that see it, or neither."
                )
        if 0 < self.small_pixels <= self.control_pixels:
            raise RunError(
                f"views.control_pixels is {self.control_pixels} and small_pixels {self.small_pixels}: a control saves "
                "by smaller views than the other rows have. Lower control_pixels."
            )

    def pixels_at(self, step: int, total_steps: int, *, as_control: bool = True) -> int:
        """Return the side that the views of a step are reduced to; 0 leaves them whole.

        Args:
            step: counted from 0.
            total_steps: of the run.
            as_control: False: as rows have them that are no control.
        """
        if as_control and step < round(self.control_fraction * total_steps):
            return self.control_pixels
        return self.small_pixels if step < round(self.small_fraction * total_steps) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSpec:
    """How the weights move.

    Attributes:
        name: a key of ``bench.training.optimizers.OPTIMIZERS``.
        learning_rate: the peak, already scaled to the batch.
        batch_images: images of one micro-batch over all ranks.
        accumulate_batches: micro-batches of one optimizer step.
        trust_coefficient: of LARS, which needs it; ``None`` for others.
        steps: optimizer steps, where the epochs shall not give them; 0: as many as the epochs have.
        clip_lr: never let LARS take a larger step than SGD would, as solo-learn's recipes do.
        warmup_epochs: linear warm-up; a cosine to 0.001 of the peak follows.
    """

    name: str
    learning_rate: float
    weight_decay: float
    batch_images: int
    epochs: int
    momentum: float = 0.9
    trust_coefficient: float | None = None
    steps: int = 0
    warmup_epochs: float = 0.0
    accumulate_batches: int = 1
    precision: Precision = "32-true"
    clip_lr: bool = False

    def __post_init__(self) -> None:
        named("optimizer", name=self.name)
        one_of("optimizer", get_args(Precision), precision=self.precision)
        positive("optimizer", learning_rate=self.learning_rate)
        at_least(
            "optimizer",
            0,
            weight_decay=self.weight_decay,
            warmup_epochs=self.warmup_epochs,
            epochs=self.epochs,
            steps=self.steps,
        )
        at_least("optimizer", 1, batch_images=self.batch_images, accumulate_batches=self.accumulate_batches)
        within("optimizer", 0.0, 1.0, momentum=self.momentum)
        if self.trust_coefficient is not None:
            positive("optimizer", trust_coefficient=self.trust_coefficient)
        if (self.name == "lars") is not (self.trust_coefficient is not None):
            raise RunError(
                f"optimizer.trust_coefficient is {self.trust_coefficient} with {self.name}: LARS needs one, no other "
                "optimizer has one."
            )
        if self.clip_lr and self.name != "lars":
            raise RunError(f"optimizer.clip_lr is set with {self.name}: only LARS has steps to clip.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SparsitySpec:
    """Which sparse method, at which point. Fractions are of the run's optimizer steps.

    Attributes:
        reduction: dense MACs over gated MACs, for methods that gate activations; 0 for those that do not.
        options: parameters of the method's own and their values, sorted by name; only those that differ from its
            defaults.
        compact_training: once no mask can bring a filter back, train on without computing those that are gone: the
            same up to rounding, with fewer MACs.
    """

    method: str
    granularity: str = "-"
    density: float = 1.0
    gap: float = 0.0
    start_fraction: float = 0.30
    end_fraction: float = 0.68
    period_fraction: float = 1 / 40
    reduction: float = 0.0
    options: tuple[tuple[str, float | str], ...] = ()
    compact_training: bool = False

    def __post_init__(self) -> None:
        named("sparsity", method=self.method, granularity=self.granularity)
        object.__setattr__(self, "options", tuple((name, value) for name, value in self.options))  # lists, from JSON
        names = [name for name, _ in self.options]
        if names != sorted(set(names)):
            raise RunError(f"sparsity.options names {names}: name each once, in alphabetical order.")
        fraction("sparsity", density=self.density, period_fraction=self.period_fraction)
        within("sparsity", -1.0, 1.0, gap=self.gap)
        within("sparsity", 0.0, 1.0, start_fraction=self.start_fraction, end_fraction=self.end_fraction)
        if self.density + self.gap <= 0.0:
            raise RunError(
                f"sparsity.gap is {self.gap} at density {self.density}: the target would keep nothing. Its density is "
                "their sum, which must be above 0."
            )
        if self.start_fraction > self.end_fraction:
            raise RunError(
                f"sparsity.start_fraction is {self.start_fraction} and end_fraction {self.end_fraction}: the start "
                "must not exceed the end."
            )
        if self.reduction:
            at_least("sparsity", 1, reduction=self.reduction)
            if self.density != 1.0 or self.gap:
                raise RunError(
                    f"sparsity.reduction is {self.reduction}, with density {self.density} and gap {self.gap}: gates "
                    "skip activations; all weights stay. Leave density and gap out."
                )

    @classmethod
    def at(cls, *, method: str, granularity: str, point: str) -> "SparsitySpec":
        """Return a method at the point that a cell's name gives, e.g. ``d0.10+g0.30`` or ``t2.25``.

        Raises:
            RunError: no point has that name.
        """
        chosen = parse_point(point)
        return cls(
            method=method,
            granularity=granularity,
            density=chosen.density,
            gap=chosen.gap,
            reduction=chosen.reduction,
        )

    @property
    def point(self) -> str:
        """The last part of a cell's name: ``d0.10``, ``d0.10+g0.30`` with a density gap, ``t2.25`` with gates."""
        return str(Point(density=self.density, gap=self.gap, reduction=self.reduction))


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSpec:
    """How the exported encoder is scored.

    Attributes:
        knn_neighbours: of the vote; a tenth of the bank where that is less.
        knn_temperature: of the vote's weights.
        probe: a key of ``bench.evaluation.probes.PROBES``.
        transfer: other data sets that the encoder is probed on, joined by ``+``; ``None``: on none.
    """

    knn_neighbours: int = 200
    knn_temperature: float = 0.1
    probe: str = "lbfgs"
    transfer: str | None = None

    def __post_init__(self) -> None:
        at_least("evaluation", 1, knn_neighbours=self.knn_neighbours)
        positive("evaluation", knn_temperature=self.knn_temperature)
        named("evaluation", probe=self.probe)
        if len(set(self.transfers)) < len(self.transfers):
            raise RunError(f"evaluation.transfer is {self.transfer!r}: name each data set once.")
        for name in self.transfers:
            named("evaluation", transfer=name)

    @property
    def transfers(self) -> tuple[str, ...]:
        """The names of the other data sets."""
        return () if self.transfer is None else tuple(self.transfer.split("+"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything that can change a number, and nothing else.

    Only "off" values are defaults; they are left out of the canonical text, so that adding a knob does
    not rename old runs.
    """

    framework: FrameworkSpec
    sparsity: SparsitySpec
    data: DataSpec
    encoder: EncoderSpec
    views: ViewSpec
    optimizer: OptimizerSpec
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    seed: int

    def __post_init__(self) -> None:
        at_least("run", 0, seed=self.seed)
        if (self.sparsity.method == UNTRAINED) is not (self.optimizer.epochs == 0):
            raise RunError(
                f"{self.cell}: {self.optimizer.epochs} epochs are set; {UNTRAINED} takes no step, so it has 0, and "
                "every other method has at least 1."
            )
        if (self.sparsity.method == SMALL_IMAGES) is not bool(self.views.control_pixels):
            raise RunError(
                f"{self.cell}: views.control_pixels is {self.views.control_pixels}; {SMALL_IMAGES} learns from "
                "smaller views than the other rows, so it needs them, and no other method has them. For smaller views "
                "in any row, set views.small_pixels and views.small_fraction."
            )

    @property
    def cell(self) -> str:
        """``FRAMEWORK/METHOD/GRANULARITY/POINT``."""
        sparsity = self.sparsity
        return f"{self.framework.name}/{sparsity.method}/{sparsity.granularity}/{sparsity.point}"

    @property
    def canonical_text(self) -> str:
        """The run as one line of JSON: sorted keys, defaults left out."""
        return json.dumps(_without_defaults(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def run_id(self) -> str:
        """A readable slug and 12 hex digits of the canonical text's SHA-256."""
        slug = self.cell.replace("/", "-").replace(":", "of")
        digest = hashlib.sha256(self.canonical_text.encode()).hexdigest()[:12]
        return f"{slug}-s{self.seed}-{digest}"

    def steps_per_epoch(self, train_images: int) -> int:
        """Return the optimizer steps of one epoch over ``train_images`` images; a last partial batch is dropped.

        Raises:
            RunError: they do not fill one batch.
        """
        images = self.optimizer.batch_images * self.optimizer.accumulate_batches
        if train_images < images:
            raise RunError(
                f"{self.cell}: {train_images} train images do not fill one batch of {images}. "
                "Use more images or a smaller batch."
            )
        return math.floor(train_images / images)

    def total_steps(self, train_images: int) -> int:
        """Return the optimizer steps of the whole run over ``train_images`` images; ``untrained`` takes none.

        Raises:
            RunError: they do not fill one batch.
        """
        if self.sparsity.method == UNTRAINED:
            return 0
        return self.optimizer.steps or self.optimizer.epochs * self.steps_per_epoch(train_images)


def _without_defaults(value: object) -> object:
    """Turn nested dataclasses into dictionaries that hold only the fields that differ from their default.

    A framework's name, which tells what the other constants are, is held always.
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    plain: dict[str, object] = {}
    for item in dataclasses.fields(value):
        entry = getattr(value, item.name)
        is_always_written = item.metadata == ALWAYS_WRITTEN
        if item.default is not dataclasses.MISSING and entry == item.default and not is_always_written:
            continue
        if item.default_factory is not dataclasses.MISSING and entry == item.default_factory():
            continue
        plain[item.name] = _without_defaults(entry)
    return plain
