"""One file a framework, from Lightly's parts; and supervised training, to compare with."""

from collections.abc import Callable
from typing import Any

from torch import nn

from bench.frameworks.barlow_twins import BarlowTwins
from bench.frameworks.base import Framework, Wiring
from bench.frameworks.byol import BYOL
from bench.frameworks.moco import MoCo
from bench.frameworks.simclr import SimCLR
from bench.frameworks.simsiam import SimSiam
from bench.frameworks.supervised import Supervised
from bench.frameworks.vicreg import VICReg

# Name -> what builds it from an encoder, the length of its features, the specification of that name, and the wiring.
FRAMEWORKS: dict[str, Callable[[nn.Module, int, Any, Wiring], Framework]] = {
    "simclr": SimCLR,
    "moco": MoCo,
    "byol": BYOL,
    "barlow_twins": BarlowTwins,
    "simsiam": SimSiam,
    "vicreg": VICReg,
    "supervised": Supervised,
}

__all__ = ["FRAMEWORKS", "Framework", "Wiring"]
