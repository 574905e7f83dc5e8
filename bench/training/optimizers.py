"""The optimizers that a run may have; an optimizer is a file with a builder, and a line here."""

from collections.abc import Callable

from torch.optim import Optimizer

from bench.config.run import OptimizerSpec
from bench.frameworks.base import Framework
from bench.training.lars import lars
from bench.training.sgd import sgd

OPTIMIZERS: dict[str, Callable[[OptimizerSpec, Framework], Optimizer]] = {
    "lars": lars,
    "sgd": sgd,
}

__all__ = ["OPTIMIZERS"]
