"""What is sparse in which phase of a training step."""

import enum
from dataclasses import dataclass

from hardware.checks import fraction
from hardware.sparsity.gates import OPEN, Gate
from hardware.sparsity.weights import DENSE, Weights


class Phase(enum.Enum):
    """Forward, gradient of the input, gradient of the weights."""

    FP = "FP"
    BP = "BP"
    WU = "WU"


@dataclass(frozen=True, slots=True)
class State:
    """What is sparse in a layer at some step.

    Attributes:
        weights: mask or density.
        gate: which outputs are computed.
        gradient_skip: fraction of the images whose backward pass is left out.
    """

    weights: Weights = DENSE
    gate: Gate = OPEN
    gradient_skip: float = 0.0

    def __post_init__(self) -> None:
        fraction(gradient_skip=self.gradient_skip)

    def trained_share(self, phase: Phase) -> float:
        """Return the fraction of the images that a phase works on."""
        return 1.0 if phase is Phase.FP else 1.0 - self.gradient_skip


DENSE_STATE = State()
