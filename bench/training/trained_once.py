"""Which parameters an optimizer is given."""

from collections.abc import Iterable

from torch import nn


def trained_once(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Drop frozen parameters and the second sight of a tied one."""
    return list(dict.fromkeys(parameter for parameter in parameters if parameter.requires_grad))
