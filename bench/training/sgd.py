"""SGD with momentum, and weight decay on every parameter."""

from torch.optim import SGD, Optimizer

from bench.config.run import OptimizerSpec
from bench.frameworks.base import Framework
from bench.training.trained_once import trained_once


def sgd(spec: OptimizerSpec, framework: Framework) -> Optimizer:
    """Build the optimizer of a framework."""
    return SGD(
        trained_once(framework.parameters()),
        lr=spec.learning_rate,
        momentum=spec.momentum,
        weight_decay=spec.weight_decay,
    )
