"""What is trained: the layers of a traced network and what one training step does with them."""

import dataclasses
import enum
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hardware.checks import HardwareError, at_least
from hardware.network.layer import LayerSpec, Part
from reading import read_json, structured

FORMAT = 1  # of the JSON file; raised when a field changes its meaning


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """What one optimizer step does. Passes are through the whole encoder and separate, never concatenated.

    Attributes:
        batch: images per pass.
        online_passes: forward and backward through the online branch: 1 of a tied pair (SimCLR with a twin),
            2 for SimCLR without one and for BYOL's symmetric loss, 1 for asymmetric MoCo.
        twin_passes: forward and backward through a tied twin, with the target's masks: 1 of a tied pair, else 0.
        target_passes: forward only, with the target's masks: 2 for BYOL, 1 for asymmetric MoCo, 0 for a pair.
        predictor_passes: forward and backward through the predictor: 2 for BYOL and SimSiam, 0 where there is none.
        target_is_ema: the target is a moving average, so a pass over all parameters is charged.
        optimizer_states: numbers that the optimizer keeps per weight: 1 for momentum, 2 for Adam.
        mask_update_period_steps: a mask update every so many steps; 0: never.
        regrowth_needs_dense_gradient: at a mask update the gradient of *all* weights is computed.
        weight_gradient_is_dense: the gradient off the mask is needed at every step, because the mask is not in
            the graph; then nothing of the weight gradient may be skipped.
        loss_macs: multiply-accumulates of the loss and its gradient per step, e.g. of the similarity matrix.
    """

    batch: int
    online_passes: int
    twin_passes: int
    target_passes: int
    predictor_passes: int
    target_is_ema: bool
    optimizer_states: int
    mask_update_period_steps: int
    regrowth_needs_dense_gradient: bool
    weight_gradient_is_dense: bool
    loss_macs: int

    def __post_init__(self) -> None:
        at_least(1, batch=self.batch, online_passes=self.online_passes)
        at_least(
            0,
            twin_passes=self.twin_passes,
            target_passes=self.target_passes,
            predictor_passes=self.predictor_passes,
            optimizer_states=self.optimizer_states,
            mask_update_period_steps=self.mask_update_period_steps,
            loss_macs=self.loss_macs,
        )
        if self.target_is_ema and not self.target_passes:
            raise HardwareError("target_is_ema without target_passes: give the passes, or say false.")
        if self.regrowth_needs_dense_gradient and not self.mask_update_period_steps:
            raise HardwareError("regrowth_needs_dense_gradient without mask_update_period_steps: give the period.")

    def trained_passes(self, part: Part) -> tuple[int, int]:
        """Return the passes forward and backward through a part, with the online branch's masks and the twin's."""
        return (self.predictor_passes, 0) if part is Part.PREDICTOR else (self.online_passes, self.twin_passes)

    def forward_passes(self, part: Part) -> int:
        """Return the passes that are forward only, of the target."""
        return 0 if part is Part.PREDICTOR else self.target_passes

    @property
    def dense_gradient_share(self) -> float:
        """Fraction of the steps whose weight gradient is dense."""
        if self.weight_gradient_is_dense:
            return 1.0
        return 1.0 / self.mask_update_period_steps if self.regrowth_needs_dense_gradient else 0.0


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A traced network with its training step."""

    name: str
    layers: tuple[LayerSpec, ...]
    step: StepSpec

    def __post_init__(self) -> None:
        known: dict[str, LayerSpec] = {}
        for layer in self.layers:
            if layer.name in known:
                raise HardwareError(f"{self.name}: two layers are called {layer.name}. Rename one.")
            if layer.reads is not None:
                source = known.get(layer.reads)
                if source is None or source.out_channels != layer.in_channels:
                    raise HardwareError(
                        f"{layer.name} reads {layer.reads}, which is no earlier layer with {layer.in_channels} "
                        "output channels. Correct the name, or say null."
                    )
            known[layer.name] = layer
        if not known:
            raise HardwareError(f"{self.name}: no layers. Trace the network again.")
        if not self.step.predictor_passes and any(layer.part is Part.PREDICTOR for layer in self.layers):
            raise HardwareError(f"{self.name}: a predictor, but predictor_passes is 0. Trace the network again.")

    def layer(self, name: str) -> LayerSpec:
        """Return a layer by name."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        known = ", ".join(layer.name for layer in self.layers)
        raise HardwareError(f"{self.name} has no layer {name!r}. It has {known}.")

    @cached_property
    def alike(self) -> tuple[int, ...]:
        """For each layer, the index of the first one of the same shape: it costs the same."""
        shapes = [dataclasses.replace(layer, name="", part=Part.ENCODER, reads=None) for layer in self.layers]
        return tuple(shapes.index(shape) for shape in shapes)

    @property
    def text(self) -> str:
        """Canonical JSON; ``read`` gives the same value back."""
        table = {"format": FORMAT, "name": self.name, "layers": list(map(_entries, self.layers))}
        return json.dumps(table | {"step": _entries(self.step)}, indent=1, sort_keys=True) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical text, as hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read(path: Path) -> Workload:
    """Return the workload in a JSON file.

    Raises:
        HardwareError: if the file cannot be read, or says something unknown, too little or impossible.
    """
    try:
        table = read_json(path)
    except ValueError as error:
        raise HardwareError(f"{path}: {error}. Give the path of a traced workload.") from error
    return parse(table, str(path))


def parse(table: object, where: str) -> Workload:
    """Return the workload that a decoded JSON file describes.

    Raises:
        HardwareError: it says something unknown, too little or impossible.
    """
    entries = dict(table) if isinstance(table, dict) else {}
    found = entries.pop("format", None)
    if found != FORMAT or isinstance(found, bool):
        raise HardwareError(f"{where}: format is {found!r}, this program reads {FORMAT}. Trace the network again.")
    return structured(Workload, entries, where, HardwareError)


def _entries(spec: LayerSpec | StepSpec) -> dict[str, object]:
    values = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    return {name: value.value if isinstance(value, enum.Enum) else value for name, value in values.items()}
