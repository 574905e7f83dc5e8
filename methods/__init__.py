"""Sparse training methods. Each entry of ``METHODS`` is one complete configuration."""

from collections.abc import Callable
from functools import partial

from methods.allocation import erk, uniform
from methods.base import Branches, Facts, Setting, SparseMethod
from methods.dense import Dense
from methods.gradual import Gradual
from methods.static import StaticMask
from methods.synchronized import Synchronized

METHODS: dict[str, Callable[[Setting], SparseMethod]] = {
    "dense": Dense,
    "static_erk": partial(StaticMask, allocation=erk),
    "static_uniform": partial(StaticMask, allocation=uniform),
    "gradual": Gradual,
    "synchronized": Synchronized,
}

__all__ = ["METHODS", "Branches", "Facts", "Setting", "SparseMethod"]
