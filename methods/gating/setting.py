"""What a cell asks of its gates."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSetting:
    """What one cell of a table chooses for its gates.

    Attributes:
        reduction: MACs of the dense encoder over those of the gated one, overhead included, at least 1; exactly 1
            keeps all gates on.
        slice_channels: output channels that share a gate; 1: a gate per channel and pixel.
        period_fraction: distance of two measurements on the held-out images, as a fraction of the steps.
        seed: of the method's own random generator.
    """

    reduction: float
    seed: int
    slice_channels: int = 1
    period_fraction: float = 1 / 40

    def __post_init__(self) -> None:
        if self.reduction < 1.0:
            raise ValueError(f"reduction {self.reduction} is below 1: it is dense MACs over gated MACs.")
        if self.slice_channels < 1:
            raise ValueError(f"slices of {self.slice_channels} channels: a slice has at least one.")
        if not 0.0 < self.period_fraction <= 1.0:
            raise ValueError(f"period_fraction {self.period_fraction} is outside (0, 1].")

    @property
    def is_all_on(self) -> bool:
        """Whether nothing is to be skipped: the null row."""
        return self.reduction == 1.0


def parse_slice(granularity: str) -> int:
    """Return the channels of a slice from a cell's granularity: ``element`` or ``slice8``.

    Raises:
        ValueError: for any other text.
    """
    if granularity == "element":
        return 1
    pattern = re.fullmatch(r"slice([1-9]\d*)", granularity)
    if pattern is None:
        raise ValueError(f"unknown granularity of gates {granularity!r}: use 'element', or slices such as 'slice8'.")
    return int(pattern[1])


def require_no_slices(setting: GateSetting, method: str) -> None:
    """Refuse slices for ``method``, which decides in units of its own.

    Raises:
        ValueError: unless a slice has one channel.
    """
    if setting.slice_channels != 1:
        raise ValueError(
            f"{method} decides in units of its own, not in slices of {setting.slice_channels} channels: use 'element'."
        )
