"""What a cell asks of its sparse method."""

from dataclasses import dataclass, field

from methods.granularity.base import Granularity
from methods.granularity.element import Elementwise

START_FRACTION, END_FRACTION = 0.30, 0.68  # scaled from the SyncCP authors' N:M script: epochs 30 and 68 of 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What one cell of a table chooses for its method. Fractions are of the optimizer steps of the run.

    Attributes:
        density: fraction of the prunable weights kept at the end, in (0, 1].
        gap: density of the target's mask minus density of the online mask (synchronized pruning); with an N:M
            pattern, fraction of its groups that are dense minus that of the online encoder.
        granularity: which shapes may go.
        start_fraction: first update of a density ramp.
        end_fraction: last update of a density ramp.
        period_fraction: distance of two mask updates.
        seed: seed of the method's own random generator (random masks, random growth).
    """

    density: float
    seed: int
    gap: float = 0.0
    granularity: Granularity = field(default_factory=Elementwise)
    start_fraction: float = START_FRACTION
    end_fraction: float = END_FRACTION
    period_fraction: float = 1 / 40

    def __post_init__(self) -> None:
        if not 0.0 < self.density <= 1.0:
            raise ValueError(f"density {self.density} is outside (0, 1]: it is the fraction of weights kept.")
        if not 0.0 <= self.gap <= 1.0:
            raise ValueError(
                f"density gap {self.gap} is outside [0, 1]: the target keeps so much more than the online encoder."
            )
        if not 0.0 <= self.start_fraction <= self.end_fraction <= 0.9:
            raise ValueError(
                f"mask updates from {self.start_fraction} to {self.end_fraction} of the run: start must not "
                "exceed end, and the last update must lie at least 10 % of the steps before the end."
            )
        if not 0.0 < self.period_fraction <= 1.0:
            raise ValueError(f"period_fraction {self.period_fraction} is outside (0, 1].")


def require_elementwise(setting: Setting, method: str) -> None:
    """Refuse a setting that asks ``method`` for shapes it cannot prune.

    Raises:
        ValueError: unless the granularity is ``Elementwise``.
    """
    if setting.granularity != Elementwise():
        raise ValueError(
            f"{method} prunes single weights, but the granularity is {setting.granularity.name}: use 'element'."
        )


def require_no_ramp(setting: Setting, method: str) -> None:
    """Refuse a setting that chooses the window of a density ramp for ``method``, which has none.

    Raises:
        ValueError: unless both fractions have their defaults.
    """
    if (setting.start_fraction, setting.end_fraction) != (START_FRACTION, END_FRACTION):
        raise ValueError(
            f"{method} keeps one density and has a window of its own, but the setting asks for a ramp from "
            f"{setting.start_fraction} to {setting.end_fraction} of the run: leave both out."
        )


def require_one_mask(setting: Setting, method: str) -> None:
    """Refuse a density gap for ``method``, which writes one mask to both branches.

    Raises:
        ValueError: if there is a gap.
    """
    if setting.gap:
        raise ValueError(f"{method} writes one mask to both branches: gap {setting.gap} must be 0.")
