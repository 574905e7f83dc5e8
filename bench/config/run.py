"""What a run is: frozen values with a canonical text and a stable name."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from bench.config.checks import at_least, named, one_of, positive, within
from bench.config.framework import ALWAYS_WRITTEN, FrameworkSpec
from bench.config.sparsity import SparsitySpec
from bench.config.views import ViewSpec
from bench.errors import RunError

STAND_IN = "digits"
UNTRAINED = "untrained"  # the floor of every table: a dense encoder that takes no step
SMALL_IMAGES = "dense_small_images"  # the dense control that learns from smaller images than the other rows
ScoredSplit = Literal["test", "validation"]
Stem = Literal["cifar", "imagenet"]
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
