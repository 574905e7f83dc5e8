"""``gate-speed``: how long a gated layer takes when it really skips."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class GateSpeed:
    """Time gated layers of ResNet-18's shapes: dense, masked as in training, and really skipping.

    Attributes:
        slice_channels: output channels that share a gate; 1, 2, 4, 8 or 16, a quarter of the narrowest layer.
    """

    slice_channels: Literal[1, 2, 4, 8, 16] = 16

    def act(self) -> int:
        """Print times beside saved MACs; return the exit code."""
        from bench.speedup import gate_speed

        print(*gate_speed.lines(gate_speed.timings(self.slice_channels)), sep="\n")
        return 0
