"""What a cell asks of its sparse method."""

from dataclasses import dataclass, field

from methods.granularity.base import Granularity
from methods.granularity.element import Elementwise
from methods.granularity.n_of_m import NofM

START_FRACTION, END_FRACTION = 0.30, 0.68  # scaled from the SyncCP authors' N:M script: epochs 30 and 68 of 100
PERIOD_FRACTION = 1 / 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What one cell of a table chooses for its method. Fractions are of the optimizer steps of the run.

    Attributes:
        density: fraction of the prunable weights kept at the end, in (0, 1].
        gap: density of the target's mask minus density of the online mask; with an N:M pattern, fraction of its groups
            that are dense minus that of the online encoder. Negative where the target is the sparser one.
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
    period_fraction: float = PERIOD_FRACTION

    def __post_init__(self) -> None:
        if not 0.0 < self.density <= 1.0:
            raise ValueError(f"density {self.density} is outside (0, 1]: it is the fraction of weights kept.")
        if not -1.0 <= self.gap <= 1.0:
            raise ValueError(
                f"density gap {self.gap} is outside [-1, 1]: the target keeps so much more than the online encoder."
            )
        if self.gap < 0.0 and (self.density + self.gap <= 0.0 or not self.granularity.is_whole):
            raise ValueError(
                f"density gap {self.gap} at density {self.density}, granularity {self.granularity.name}: a target that "
                "is sparser keeps something, and has no N:M pattern. Raise the gap, or prune whole units."
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


def require_pattern(setting: Setting, method: str) -> NofM:
    """Return the N:M pattern of a setting for ``method``, which prunes nothing else.

    Raises:
        ValueError: the granularity is another, or the density is not the pattern's.
    """
    if not isinstance(setting.granularity, NofM):
        raise ValueError(  # noqa: TRY004 (a value of a setting, as all that is refused here)
            f"{method} prunes to N:M patterns, but the granularity is {setting.granularity.name}: use '2:4', say."
        )
    setting.granularity.level(setting.density)
    return setting.granularity


def require_units(setting: Setting, method: str) -> None:
    """Refuse single weights and patterns for ``method``, which removes groups of weights as a whole.

    Raises:
        ValueError: unless the granularity is a block or filters.
    """
    granularity = setting.granularity
    if not granularity.is_whole or granularity == Elementwise():
        raise ValueError(
            f"{method} removes groups of weights, but the granularity is {granularity.name}: use 'filter' or a block "
            "such as 'block4x4'."
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


def require_no_period(setting: Setting, method: str) -> None:
    """Refuse a setting that chooses when ``method`` updates masks, if its updates are its own.

    Raises:
        ValueError: unless the period has its default.
    """
    if setting.period_fraction != PERIOD_FRACTION:
        raise ValueError(
            f"{method} has a period of its own, but the setting asks for an update every {setting.period_fraction} of "
            "the run: leave it out."
        )


def require_one_mask(setting: Setting, method: str) -> None:
    """Refuse a density gap for ``method``, which writes one mask to both branches.

    Raises:
        ValueError: if there is a gap.
    """
    if setting.gap:
        raise ValueError(f"{method} writes one mask to both branches: gap {setting.gap} must be 0.")
