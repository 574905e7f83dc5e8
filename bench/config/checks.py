"""What the values of a run demand of themselves. Each check names whose value it is, the value and the rule.

Every rule is written so that NaN breaks it.
"""

import math
from collections.abc import Sequence

from bench.errors import RunError, unknown


def at_least(owner: str, least: float, **values: float) -> None:
    """Demand that each named value is finite and at least ``least``."""
    for name, value in values.items():
        if not (value >= least and math.isfinite(value)):
            raise RunError(f"{owner}.{name} is {value}; it must be at least {least}.")


def positive(owner: str, **values: float) -> None:
    """Demand that each named value is finite and above 0."""
    for name, value in values.items():
        if not (value > 0.0 and math.isfinite(value)):
            raise RunError(f"{owner}.{name} is {value}; it must be above 0.")


def within(owner: str, low: float, high: float, **values: float) -> None:
    """Demand that each named value lies in [low, high]."""
    for name, value in values.items():
        if not low <= value <= high:
            raise RunError(f"{owner}.{name} is {value}; it must lie in [{low:g}, {high:g}].")


def fraction(owner: str, **values: float) -> None:
    """Demand that each named value lies in (0, 1]."""
    for name, value in values.items():
        if not 0.0 < value <= 1.0:
            raise RunError(f"{owner}.{name} is {value}; it must lie in (0, 1].")


def named(owner: str, **values: str) -> None:
    """Demand that each named text is not empty."""
    for name, value in values.items():
        if not value.strip():
            raise RunError(f"{owner}.{name} is {value!r}; it must be a name.")


def one_of(owner: str, choices: Sequence[str], **values: str) -> None:
    """Demand that each named value is one of the choices."""
    for name, value in values.items():
        if value not in choices:
            raise RunError(unknown(f"{owner}.{name}", value, choices))
