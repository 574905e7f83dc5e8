"""The threshold that a share of values exceeds."""

from torch import Tensor


def level(values: Tensor, rate: float) -> Tensor:
    """Return what so large a share of all values exceeds; between two of them, so that rounding opens no gate."""
    ordered = values.flatten().sort().values
    place = min(max(1, round((1 - rate) * len(ordered))), len(ordered) - 1)
    return (ordered[place - 1] + ordered[place]) / 2
