"""One file a framework, from Lightly's parts."""

from collections.abc import Callable

from torch import nn

from bench.config import FrameworkSpec
from bench.frameworks.base import Framework, Wiring
from bench.frameworks.byol import BYOL
from bench.frameworks.simclr import SimCLR

FRAMEWORKS: dict[str, Callable[[nn.Module, int, FrameworkSpec, Wiring], Framework]] = {
    "simclr": SimCLR,
    "byol": BYOL,
}

__all__ = ["FRAMEWORKS", "Framework", "Wiring"]
