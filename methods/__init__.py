"""Sparse training methods. Each entry of ``METHODS`` is one complete configuration."""

from collections.abc import Callable
from functools import partial

from methods.allocation import erk, uniform
from methods.base import Branches, Facts, Setting, SparseMethod
from methods.dense import Dense
from methods.drop_and_grow import DropAndGrow
from methods.gradual import Gradual
from methods.gradual_regrow import GradualRegrow
from methods.static import StaticMask
from methods.synchronized import Synchronized

METHODS: dict[str, Callable[[Setting], SparseMethod]] = {
    "dense": Dense,
    "static_erk": partial(StaticMask, allocation=erk),
    "static_uniform": partial(StaticMask, allocation=uniform),
    "set": partial(DropAndGrow, growth="random", replaces_step=False),
    "rigl": partial(DropAndGrow, growth="gradient", replaces_step=True),
    "gradual": Gradual,
    "granet": GradualRegrow,
    "synchronized": Synchronized,
}

__all__ = ["METHODS", "Branches", "Facts", "Setting", "SparseMethod"]
