"""What the values of a machine and of a workload demand of themselves. Each check names the value and the rule.

Every rule is written so that NaN breaks it.
"""


class HardwareError(ValueError):
    """A file, an option or a mask says something unknown, too little, or something impossible."""


def at_least(least: float, **values: float) -> None:
    """Demand that each named value is at least ``least``."""
    for name, value in values.items():
        if not value >= least:
            raise HardwareError(f"{name} is {value}; it must be at least {least}.")


def fraction(**values: float) -> None:
    """Demand that each named value lies in [0, 1]."""
    for name, value in values.items():
        if not 0.0 <= value <= 1.0:
            raise HardwareError(f"{name} is {value}; it must lie in [0, 1].")
