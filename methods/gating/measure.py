"""What gates did: rates, MACs and agreement, averaged over all images given, never over the last batch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods import macs
from methods.gating.layer import Gated, Note, gated

BATCH = 64  # images of one forward pass; changes no result, because evaluation statistics are used


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Dense MACs of one image.

    Attributes:
        dense: of the whole encoder without gates.
        layers: of the convolution of each gated layer.
        predictors: of the convolutions and linear layers that only decisions need.
    """

    dense: int
    layers: Mapping[str, int]
    predictors: int

    @classmethod
    def of(cls, encoder: nn.Module, image_shape: tuple[int, int, int]) -> "Budget":
        """Count a gated encoder; (channels, height, width) of an image."""
        per_layer = macs.inference_macs(encoder, image_shape)
        paths = gated(encoder)
        inside = {name for name in per_layer for path in paths if name.startswith(f"{path}.")}
        predictors = sum(per_layer[name] for name in inside - {f"{path}.conv" for path in paths})
        return cls(
            dense=sum(per_layer.values()) - predictors,
            layers={path: per_layer[f"{path}.conv"] for path in paths},
            predictors=predictors,
        )

    @property
    def gated(self) -> int:
        """Dense MACs of all gated convolutions."""
        return sum(self.layers.values())

    def wanted_share(self, reduction: float, overhead_macs: int) -> float:
        """Return the share of the gated MACs that makes dense / gated MACs equal ``reduction``; may be impossible."""
        fixed = self.dense - self.gated + self.predictors + overhead_macs
        return (self.dense / reduction - fixed) / self.gated

    def reduction(self, share: float, overhead_macs: int) -> float:
        """Return dense / gated MACs of an encoder whose gated layers execute ``share`` of theirs."""
        return self.dense / (self.dense - self.gated * (1 - share) + self.predictors + overhead_macs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What the gates of one branch did, as means over images.

    Attributes:
        rates: fraction of gates that were on, per layer.
        shares: executed MACs of the convolution as a fraction of its dense ones, per layer.
        overhead_macs: element-wise operations per image that decisions need.
    """

    rates: Mapping[str, float]
    shares: Mapping[str, float]
    overhead_macs: int

    def share(self, budget: Budget) -> float:
        """Return the executed share of all gated MACs."""
        return sum(budget.layers[path] * share for path, share in self.shares.items()) / budget.gated

    def rate(self, budget: Budget) -> float:
        """Return the on-rate, each layer weighted by its dense MACs."""
        return sum(budget.layers[path] * rate for path, rate in self.rates.items()) / budget.gated


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What two branches did on the same images.

    Attributes:
        online: of the online encoder.
        target: of the target.
        agreement: fraction of gates that are equal in both, per layer.
        features: float32 ``[N, F]`` on the CPU: what the online encoder made of the images.
    """

    online: Activity
    target: Activity
    agreement: Mapping[str, float]
    features: Tensor


@torch.no_grad()
def observe(online: nn.Module, target: nn.Module, images: Tensor) -> Observed:
    """Let both branches see all images, in evaluation mode; nothing of theirs changes, not even running statistics.

    Args:
        online: gated.
        target: gated, with the same layers; may be the online encoder itself.
        images: ``[N, C, H, W]``, normalised, on the encoders' device.
    """
    sums: dict[str, Tensor] = {path: torch.zeros(5, dtype=torch.float64) for path in gated(online)}
    overhead, features = [0, 0], list[Tensor]()
    for part in images.split(BATCH):
        first, made = _seen(online, part)
        second, _ = (first, made) if target is online else _seen(target, part)
        features.append(made.float().cpu())
        for path, note in first.items():
            other = second[path]
            sums[path] += _sums(note, other)
        overhead = [sum(note.overhead_macs for note in notes.values()) for notes in (first, second)]
    means = {path: (total / len(images)).tolist() for path, total in sums.items()}
    return Observed(
        online=Activity(
            rates={path: mean[0] for path, mean in means.items()},
            shares={path: mean[1] for path, mean in means.items()},
            overhead_macs=overhead[0],
        ),
        target=Activity(
            rates={path: mean[2] for path, mean in means.items()},
            shares={path: mean[3] for path, mean in means.items()},
            overhead_macs=overhead[1],
        ),
        agreement={path: mean[4] for path, mean in means.items()},
        features=torch.cat(features) if features else torch.empty(0),
    )


@torch.no_grad()
def decisions(encoder: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return what each gated layer decides for images ``[N, C, H, W]`` in evaluation mode, bool ``[N, ...]``."""
    return {path: note.gates for path, note in _seen(encoder, images)[0].items()}


@torch.no_grad()
def maps(encoder: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return, per gated layer, the fraction of gates on at each pixel: ``[N, H, W]``; 1x1 if gates know no pixels."""
    found = {path: note.gates.double() for path, note in _seen(encoder, images)[0].items()}
    return {
        path: gates.mean(1) if gates.ndim == 4 else gates.flatten(1).mean(1)[:, None, None]
        for path, gates in found.items()
    }


def training_share(encoder: nn.Module, budget: Budget, overhead_macs: int) -> float:
    """Return the forward MACs of a branch in training as a fraction of the dense encoder's, overhead included.

    Args:
        encoder: gated.
        budget: of the branch; its predictors are counted here, once.
        overhead_macs: element-wise operations per image that decisions need.
    """
    executed = sum(budget.layers[path] * _mean(layer) for path, layer in gated(encoder).items())
    return (budget.dense - budget.gated + executed + budget.predictors + overhead_macs) / budget.dense


def _mean(layer: Gated) -> float:
    total, images = layer.tally.tolist()
    return float(total / images) if images else 1.0


def _sums(note: Note, other: Note) -> Tensor:
    """Return, summed over images: rate and share of both, and their agreement."""
    first, second = note.gates, other.gates
    gates = first[0].numel()
    rate, other_rate, agreement = (each.count_nonzero().double() / gates for each in (first, second, first == second))
    shares, other_shares = (each.shares.sum(dtype=torch.float64) for each in (note, other))
    return torch.stack([rate, shares, other_rate, other_shares, agreement]).cpu()


def _seen(encoder: nn.Module, images: Tensor) -> tuple[dict[str, Note], Tensor]:
    """Return what each layer did, and what the encoder returned."""
    with _noted(encoder) as layers:
        made: Tensor = encoder(images)
        return {path: _only(layer.notes) for path, layer in layers.items()}, made


def _only(notes: Sequence[Note] | None) -> Note:
    assert notes is not None
    (note,) = notes
    return note


@contextmanager
def _noted(encoder: nn.Module) -> Iterator[dict[str, Gated]]:
    """Collect notes, in evaluation mode; put everything back afterwards."""
    layers, was_training = gated(encoder), encoder.training
    encoder.eval()
    for layer in layers.values():
        layer.notes = []
    try:
        yield layers
    finally:
        encoder.train(was_training)
        for layer in layers.values():
            layer.notes = None


__all__ = ["Activity", "Budget", "Observed", "decisions", "maps", "observe", "training_share"]
