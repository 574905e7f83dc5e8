"""``gate-speed``: how long a gated layer takes when it really skips."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg


@dataclass(frozen=True, kw_only=True)
class GateSpeed:
    """Time gated layers of ResNet-18's shapes: dense, masked as in training, and really skipping, in turns.

    Attributes:
        slice_channels: output channels that share a gate; 0: a quarter of each layer's, the most that fit.
        images: of a batch.
    """

    slice_channels: Literal[0, 1, 2, 4, 8, 16] = 0
    images: Annotated[int, arg(metavar="NUMBER")] = 16

    def act(self) -> int:
        """Print speed-ups beside saved MACs; return the exit code.

        Raises:
            UsageError: a batch without images.
        """
        from bench.errors import UsageError
        from bench.speedup import gate_speed

        if self.images < 1:
            raise UsageError(f"--images {self.images}: a batch has at least 1.")
        print(*gate_speed.lines(gate_speed.timings(self.slice_channels, images=self.images)), sep="\n")
        return 0
