"""One file a framework, from Lightly's parts."""

from collections.abc import Callable

from bench.frameworks.base import Framework
from bench.frameworks.byol import BYOL
from bench.frameworks.simclr import SimCLR

FRAMEWORKS: dict[str, Callable[..., Framework]] = {
    "simclr": SimCLR,
    "byol": BYOL,
}

__all__ = ["FRAMEWORKS", "Framework"]
