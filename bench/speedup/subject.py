"""An encoder with zeros of some kind, in the forms in which it is measured."""

import dataclasses
from dataclasses import dataclass

from torch import nn

from bench.speedup.timeline import States
from methods.compaction import fused, one_call

ONE_CALL = "one call of a compiled kernel computes all layers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An encoder with zeros.

    Attributes:
        kind: what is zero.
        rate: share of weights that is left, or of gates that is open.
        macs_reduction: dense multiply-accumulates of an image over those that are needed, the gates' own included.
        states: layer -> what the model is told.
        trains: the encoder as it trains; ``None`` where inference alone is measured.
        infers: the fastest that there is here for inference; ``None``: the dense one, with its zeros multiplied.
        how: what is done about the zeros in inference; where nothing is, why.
        how_trained: the same of a training step.
        trains_compactly: whether it trains without the filters that are gone, as ``--compact-training`` does.
        knows_gates: whether the gates of a training step are those that the encoder decided for its images before.
    """

    kind: str
    rate: float
    macs_reduction: float
    states: States
    trains: nn.Module | None
    infers: nn.Module | None
    how: str
    how_trained: str
    trains_compactly: bool = False
    knows_gates: bool = False

    @property
    def name(self) -> str:
        """Kind and rate."""
        return f"{self.kind} {self.rate:g}"


def forms(subject: Subject, *, plain: str, whole: str) -> "tuple[Subject, ...]":
    """Return a subject as PyTorch infers it, layer by layer, and as one call of the kernel does, if there is one.

    Only the one whose kind is the subject's own trains.

    Args:
        subject: with an encoder for inference.
        plain: the kind of the first.
        whole: the kind of the second.
    """
    assert subject.infers is not None
    if why := one_call.missing():
        return (dataclasses.replace(subject, how=f"{subject.how}; PyTorch computes layer by layer: {why}"),)
    return (
        _named(subject, plain, "PyTorch computes layer by layer", subject.infers),
        _named(subject, whole, ONE_CALL, fused(subject.infers)),
    )


def _named(subject: Subject, kind: str, how: str, infers: nn.Module) -> Subject:
    is_own = kind == subject.kind
    return dataclasses.replace(
        subject,
        kind=kind,
        how=f"{subject.how}; {how}",
        infers=infers,
        trains=subject.trains if is_own else None,
        how_trained=subject.how_trained if is_own else "not measured",
        trains_compactly=subject.trains_compactly and is_own,
    )
