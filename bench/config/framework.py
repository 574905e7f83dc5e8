"""The constants of every framework. What it does with them lies in the file of its name in ``bench/frameworks``.

They are apart, so that runs are named, read and listed without PyTorch. A framework is a specification here, a line in
``FRAMEWORK_SPECS``, and a file with a line in ``bench/frameworks``.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from bench.config.checks import at_least, positive, within
from bench.errors import RunError, unknown

Name = TypeVar("Name", bound=str)
ALWAYS_WRITTEN = {"always_written": True}  # metadata of a default that the canonical text does not leave out


def _named(name: Name) -> Name:
    """Return the field ``name`` of a specification, which has one value."""
    only: Name = field(default=name, metadata=ALWAYS_WRITTEN)
    return only


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameworkSpec:
    """What every framework has; each adds its own constants.

    Attributes:
        name: a key of ``FRAMEWORK_SPECS`` and of ``bench.frameworks.FRAMEWORKS``.
        hidden_dim: width of the projection head's hidden layers; 0 where there is no head (supervised).
        output_dim: width of the embedding that the loss sees; supervised: number of classes.
    """

    name: str
    hidden_dim: int
    output_dim: int

    def __post_init__(self) -> None:
        at_least(self.name, 1, hidden_dim=self.hidden_dim, output_dim=self.output_dim)

    @classmethod
    def chosen_by(cls, entries: Mapping[str, Any]) -> tuple[type["FrameworkSpec"], Mapping[str, Any]]:
        """Return the specification that entries of a file are of, and the entries it reads.

        Records made until November 2026 hold the constants of all frameworks, ``None`` where one has no such constant.

        Raises:
            RunError: no framework has that name.
        """
        name = entries.get("name")
        if name not in FRAMEWORK_SPECS:
            raise RunError(unknown("framework", str(name), FRAMEWORK_SPECS))
        spec = FRAMEWORK_SPECS[name]
        own = {item.name for item in dataclasses.fields(spec)}
        unused = {key for key in CONSTANTS - own if key in entries and entries[key] is None}
        return spec, {key: value for key, value in entries.items() if key not in unused}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimCLRSpec(FrameworkSpec):
    """SimCLR's constants.

    Attributes:
        temperature: of NT-Xent.
    """

    name: Literal["simclr"] = _named("simclr")
    temperature: float

    def __post_init__(self) -> None:
        FrameworkSpec.__post_init__(self)
        positive(self.name, temperature=self.temperature)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoCoSpec(FrameworkSpec):
    """MoCo v2's constants.

    Attributes:
        temperature: of InfoNCE.
        ema_start: target momentum at step 0; it moves along a cosine to ``ema_end``.
        ema_end: target momentum at the last step.
        queue_size: keys in the memory bank.
    """

    name: Literal["moco"] = _named("moco")
    temperature: float
    ema_start: float
    ema_end: float
    queue_size: int

    def __post_init__(self) -> None:
        FrameworkSpec.__post_init__(self)
        positive(self.name, temperature=self.temperature)
        within(self.name, 0.0, 1.0, ema_start=self.ema_start, ema_end=self.ema_end)
        at_least(self.name, 1, queue_size=self.queue_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class BYOLSpec(FrameworkSpec):
    """BYOL's constants.

    Attributes:
        prediction_dim: hidden width of the prediction head.
        ema_start: target momentum at step 0; it moves along a cosine to ``ema_end``.
        ema_end: target momentum at the last step.
    """

    name: Literal["byol"] = _named("byol")
    prediction_dim: int
    ema_start: float
    ema_end: float

    def __post_init__(self) -> None:
        FrameworkSpec.__post_init__(self)
        at_least(self.name, 1, prediction_dim=self.prediction_dim)
        within(self.name, 0.0, 1.0, ema_start=self.ema_start, ema_end=self.ema_end)


@dataclass(frozen=True, slots=True, kw_only=True)
class BarlowTwinsSpec(FrameworkSpec):
    """Barlow Twins' constants.

    Attributes:
        redundancy_weight: lambda, the weight of the off-diagonal correlations.
        loss_scale: factor on the loss.
    """

    name: Literal["barlow_twins"] = _named("barlow_twins")
    redundancy_weight: float
    loss_scale: float

    def __post_init__(self) -> None:
        FrameworkSpec.__post_init__(self)
        at_least(self.name, 0, redundancy_weight=self.redundancy_weight)
        positive(self.name, loss_scale=self.loss_scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimSiamSpec(FrameworkSpec):
    """SimSiam's constants.

    Attributes:
        prediction_dim: hidden width of the prediction head.
    """

    name: Literal["simsiam"] = _named("simsiam")
    prediction_dim: int

    def __post_init__(self) -> None:
        FrameworkSpec.__post_init__(self)
        at_least(self.name, 1, prediction_dim=self.prediction_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class VICRegSpec(FrameworkSpec):
    """VICReg's constants.

    Attributes:
        loss_scale: factor on the loss.
    """

    name: Literal["vicreg"] = _named("vicreg")
    loss_scale: float

    def __post_init__(self) -> None:
        FrameworkSpec.__post_init__(self)
        positive(self.name, loss_scale=self.loss_scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisedSpec(FrameworkSpec):
    """Training with labels: no projection head, and an output per class."""

    name: Literal["supervised"] = _named("supervised")

    def __post_init__(self) -> None:
        at_least(self.name, 1, output_dim=self.output_dim)
        within(self.name, 0, 0, hidden_dim=self.hidden_dim)


FRAMEWORK_SPECS: dict[str, type[FrameworkSpec]] = {
    "simclr": SimCLRSpec,
    "moco": MoCoSpec,
    "byol": BYOLSpec,
    "barlow_twins": BarlowTwinsSpec,
    "simsiam": SimSiamSpec,
    "vicreg": VICRegSpec,
    "supervised": SupervisedSpec,
}
CONSTANTS = {item.name for spec in FRAMEWORK_SPECS.values() for item in dataclasses.fields(spec)}
