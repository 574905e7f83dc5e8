"""Channel gating: outputs whose conditional path is closed are computed from a base part of the inputs only."""

import abc
from dataclasses import dataclass

import numpy as np

from hardware.checks import HardwareError, at_least, fraction
from hardware.skipping.base import Bools, ceil_div


class Gate(abc.ABC):
    """What is known about the gates of one layer.

    A fraction ``base`` of the input channels always counts; the rest only where the gate is open. Then a share
    ``base + (1 - base) x open`` of FP is needed, and the same of BP and WU, whose errors are 0 on closed paths.
    Source: Hua et al. 2019 (channel gating); the grouping is ours (README.md, section 4). Assumed (ours): the base part
    takes just its share of the passes, whether or not its channels fill whole tiles.
    """

    base: float

    @abc.abstractmethod
    def needed_share(self) -> float:
        """Return the share of the work that the algorithm needs."""

    @abc.abstractmethod
    def computed_share(self, outputs: int, pixels: int, gate_groups: int) -> float:
        """Return the share that a machine computes.

        Args:
            outputs: output channels in lock step.
            pixels: pixels in lock step.
            gate_groups: such groups of outputs that open together.
        """


@dataclass(frozen=True, slots=True)
class GateRate(Gate):
    """Every gate is open with probability ``keep``, independently of the others (real ones cluster).

    In lock step everything waits while any is open: 1 - (1 - keep)^(gates in lock step).

    Attributes:
        keep: see above.
        base: as in ``Gate``.
        channels: output channels that one gate decides for.
    """

    keep: float
    base: float
    channels: int = 1

    def __post_init__(self) -> None:
        fraction(keep=self.keep, base=self.base)
        at_least(1, channels=self.channels)

    def needed_share(self) -> float:
        """Return base + (1 - base) keep."""
        return _share(self.base, self.keep)

    def computed_share(self, outputs: int, pixels: int, gate_groups: int) -> float:
        """Return the expectation."""
        together = ceil_div(outputs * gate_groups, self.channels) * pixels
        return _share(self.base, 1.0 - (1.0 - self.keep) ** together)


@dataclass(frozen=True, slots=True, eq=False)
class GateMask(Gate):
    """The real gates: ``is_open`` has the shape (images, K, Ho Wo)."""

    is_open: Bools
    base: float

    def __post_init__(self) -> None:
        fraction(base=self.base)
        if self.is_open.dtype != np.bool_ or self.is_open.ndim != 3 or not self.is_open.size:
            raise HardwareError(
                f"gates of {self.is_open.dtype} with shape {self.is_open.shape}: give booleans of shape "
                "(images, outputs, pixels), not empty."
            )

    def needed_share(self) -> float:
        """Return base + (1 - base) x the open fraction."""
        return _share(self.base, float(self.is_open.mean()))

    def computed_share(self, outputs: int, pixels: int, gate_groups: int) -> float:
        """Count the groups in lock step with any open gate, by the outputs and pixels they hold."""
        images, channels, places = self.is_open.shape
        together = outputs * gate_groups
        whole = np.pad(self.is_open, ((0, 0), (0, -channels % together), (0, -places % pixels)))
        grid = whole.reshape(images, -1, together, whole.shape[2] // pixels, pixels)
        return _share(self.base, float(grid.any(axis=(2, 4)).mean()))


OPEN = GateRate(1.0, 1.0)


def _share(base: float, opened: float) -> float:
    # Not base + (1 - base) opened: that may miss 1 by a rounding error when either is 1.
    return 1.0 - (1.0 - base) * (1.0 - opened)
