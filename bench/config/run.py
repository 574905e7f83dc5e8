"""What a run is: frozen values with a canonical text and a stable name."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Literal

UNTRAINED = "untrained"  # the floor of every table: a dense encoder that takes no step


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """Which images.

    Attributes:
        name: ``cifar10``, ``cifar100``, ``digits`` (the embedded stand-in) or the name of an image folder.
        train_images: the first so many of the train split in canonical order; 0 means all.
        held_out_images: the last so many of those are not trained on: gates are steered by what they do there.
        evaluate_on: ``test``, or ``validation``: the last 5,000 train images in canonical order.
    """

    name: str
    train_images: int
    evaluate_on: Literal["test", "validation"] = "test"
    held_out_images: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """Which backbone. ``stem`` is ``cifar`` (3x3, stride 1, no max-pool) or ``imagenet`` (7x7, stride 2, max-pool)."""

    name: str
    width: float
    stem: Literal["cifar", "imagenet"] = "cifar"


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSpec:
    """Which views.

    Attributes:
        pipeline: ``batched-v1`` (ours, on tensors) or ``lightly`` (Lightly's own transforms, per image).
        recipe: a key of ``augment.RECIPES``, e.g. ``simclr``, ``byol``, ``digits``.
    """

    pipeline: Literal["batched-v1", "lightly"]
    recipe: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameworkSpec:
    """Which framework, with its own constants. A field that a framework does not use stays ``None``.

    Attributes:
        name: a key of ``bench.frameworks.FRAMEWORKS``.
        hidden_dim: width of the projection head's hidden layers; 0 where there are none (supervised).
        output_dim: width of the embedding the loss sees; supervised: number of classes.
        temperature: of NT-Xent.
        prediction_dim: hidden width of the prediction head.
        ema_start: target momentum at step 0; it rises along a cosine to ``ema_end``.
        ema_end: target momentum at the last step.
        queue_size: keys in MoCo's memory bank.
        redundancy_weight: lambda of Barlow Twins.
        loss_scale: factor on the loss of Barlow Twins and VICReg.
    """

    name: str
    hidden_dim: int
    output_dim: int
    temperature: float | None = None
    prediction_dim: int | None = None
    ema_start: float | None = None
    ema_end: float | None = None
    queue_size: int | None = None
    redundancy_weight: float | None = None
    loss_scale: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSpec:
    """How the weights move.

    Attributes:
        learning_rate: the peak, already scaled to the batch.
        batch_images: images of one micro-batch over all ranks.
        accumulate_batches: micro-batches of one optimizer step.
        trust_coefficient: of LARS.
        warmup_epochs: linear warm-up; a cosine to 0.001 of the peak follows.
    """

    name: Literal["sgd", "lars"]
    learning_rate: float
    weight_decay: float
    batch_images: int
    epochs: int
    momentum: float = 0.9
    trust_coefficient: float | None = None
    warmup_epochs: float = 0.0
    accumulate_batches: int = 1
    precision: Literal["32-true", "bf16-mixed"] = "32-true"


@dataclass(frozen=True, slots=True, kw_only=True)
class SparsitySpec:
    """Which sparse method, at which point. Fractions are of the run's optimizer steps.

    Attributes:
        reduction: dense MACs over gated MACs, for methods that gate activations; 0 for those that do not.
    """

    method: str
    granularity: str = "-"
    density: float = 1.0
    gap: float = 0.0
    start_fraction: float = 0.30
    end_fraction: float = 0.68
    period_fraction: float = 1 / 40
    reduction: float = 0.0

    @classmethod
    def at(cls, *, method: str, granularity: str, point: str) -> "SparsitySpec":
        """Return a method at the point that a cell's name gives, e.g. ``d0.10+g0.30`` or ``t2.25``."""
        if point.startswith("t"):
            return cls(method=method, granularity=granularity, reduction=float(point.removeprefix("t")))
        density, _, gap = point.removeprefix("d").partition("+g")
        return cls(method=method, granularity=granularity, density=float(density), gap=float(gap or 0))

    @property
    def point(self) -> str:
        """The last part of a cell's name: ``d0.10``, ``d0.10+g0.30`` with a density gap, ``t2.25`` with gates."""
        if self.reduction:
            return f"t{self.reduction:.2f}"
        gap = f"+g{self.gap:.2f}" if self.gap else ""
        return f"d{self.density:.2f}{gap}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSpec:
    """How the exported encoder is scored. Protocols are named in ``bench.evaluation.linear``."""

    knn_neighbours: int = 200
    knn_temperature: float = 0.1
    probe: Literal["lbfgs", "sgd"] = "lbfgs"


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
        """Return the optimizer steps of one epoch over ``train_images`` images; a last partial batch is dropped."""
        images = self.optimizer.batch_images * self.optimizer.accumulate_batches
        if train_images < images:
            raise ValueError(
                f"{self.cell}: {train_images} train images do not fill one batch of {images}. "
                "Use more images or a smaller batch."
            )
        return math.floor(train_images / images)


def _without_defaults(value: object) -> object:
    """Turn nested dataclasses into dictionaries that hold only the fields that differ from their default."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    plain: dict[str, object] = {}
    for item in dataclasses.fields(value):
        entry = getattr(value, item.name)
        if item.default is not dataclasses.MISSING and entry == item.default:
            continue
        if item.default_factory is not dataclasses.MISSING and entry == item.default_factory():
            continue
        plain[item.name] = _without_defaults(entry)
    return plain


STAND_IN = "digits"
