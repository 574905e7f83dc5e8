"""What counts as the same, read from ``results/tolerances.toml`` and from nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.config.framework import FRAMEWORK_SPECS
from bench.config.profiles import PROFILES
from bench.data.known import KNOWN
from bench.files import ROOT
from bench.judging.settings import SettingsError, known, level, once, read
from bench.judging.verdict import Margin
from bench.runs.record import METRICS
from bench.tables import TABLES

TOLERANCES = ROOT / "results" / "tolerances.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """The tolerances of one table at one profile on one data set.

    Attributes:
        judged_metric: the one metric that decides; the others are shown.
        alpha: level of each one-sided test.
        equal_spread_alpha: below this p-value of Brown and Forsythe's test the spread is not pooled.
        margins: framework -> metric -> margin; none at all where nobody has said what counts as the same.
        reduction_within: relative; a measured reduction of MACs closer to the one asked for has met it.
    """

    judged_metric: str
    alpha: float
    equal_spread_alpha: float
    margins: Mapping[str, Mapping[str, Margin]]
    reduction_within: float

    @property
    def is_set(self) -> bool:
        """Whether anything says what counts as the same; else rows are shown and not judged."""
        return bool(self.margins)

    def margin(self, framework: str) -> Margin:
        """Return the margin of the judged metric.

        Raises:
            SettingsError: the framework has none.
        """
        found = self.margins.get(framework, {}).get(self.judged_metric)
        if found is None:
            raise SettingsError(
                f"tolerances: no margin for {self.judged_metric} of {framework}. Add a [[table.margin]]; "
                f"there are some for {', '.join(sorted(self.margins))}."
            )
        return found


def load_tolerances(table: str, profile: str, data: str, path: Path = TOLERANCES) -> Tolerances:
    """Read the file, all of it strictly, and return one table's tolerances; own images have none.

    Raises:
        SettingsError: the file is unreadable, or has unknown, missing, repeated or impossible entries.
    """
    file = read(_File, path)
    for each in file.table:
        if each.key == f"{table}/{profile}/{data}":
            return Tolerances(
                judged_metric=each.judged_metric,
                alpha=each.alpha,
                equal_spread_alpha=each.equal_spread_alpha,
                margins=each.margins,
                reduction_within=file.reduction_within,
            )
    return Tolerances(
        judged_metric=METRICS[0],
        alpha=0.05,
        equal_spread_alpha=0.01,
        margins={},
        reduction_within=file.reduction_within,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Margin:
    """A ``[[table.margin]]``."""

    framework: str
    metric: str
    delta_points: float
    sd_floor_points: float

    def __post_init__(self) -> None:
        known([*FRAMEWORK_SPECS], framework=self.framework)
        known(METRICS, metric=self.metric)
        _ = self.margin

    @property
    def margin(self) -> Margin:
        """What it says.

        Raises:
            ValueError: it is no margin.
        """
        return Margin(delta_points=self.delta_points, sd_floor_points=self.sd_floor_points)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A ``[[table]]``."""

    name: str
    profile: str
    data: str
    judged_metric: str
    alpha: float
    equal_spread_alpha: float
    margin: tuple[_Margin, ...]

    def __post_init__(self) -> None:
        known([*TABLES], name=self.name)
        known([*PROFILES], profile=self.profile)
        known([*KNOWN], data=self.data)
        known(METRICS, judged_metric=self.judged_metric)
        level(alpha=self.alpha, equal_spread_alpha=self.equal_spread_alpha)
        once("margin", [f"{each.framework}, {each.metric}" for each in self.margin], "Merge the entries.")

    @property
    def key(self) -> str:
        """``NAME/PROFILE/DATA``."""
        return f"{self.name}/{self.profile}/{self.data}"

    @property
    def margins(self) -> dict[str, dict[str, Margin]]:
        """Framework -> metric -> margin."""
        found: dict[str, dict[str, Margin]] = {}
        for each in self.margin:
            found.setdefault(each.framework, {})[each.metric] = each.margin
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """The whole file."""

    reduction_within: float
    table: tuple[_Table, ...]

    def __post_init__(self) -> None:
        level(reduction_within=self.reduction_within)
        once("table", [each.key for each in self.table], "Merge the entries.")
