"""What counts as the same, read from ``results/tolerances.toml`` and from nowhere else."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.files import ROOT
from bench.judging.settings import Reader, SettingsError
from bench.judging.verdict import Margin

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
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: not a readable TOML file ({error}).") from error
    document = Reader(f"{path}", content)
    reduction_within = document.level("reduction_within")
    known: dict[tuple[str, str, str], Tolerances] = {}
    for number, entry in enumerate(document.tables("table")):
        reader = Reader(f"{path}: table {number}", entry)
        key = (reader.text("name"), reader.text("profile"), reader.text("data"))
        if key in known:
            raise SettingsError(f"{path}: {'/'.join(key)} appears twice. Merge the entries.")
        known[key] = _tolerances(reader, reduction_within)
    document.close()
    unset = Tolerances(
        judged_metric="linear_top1_percent",
        alpha=0.05,
        equal_spread_alpha=0.01,
        margins={},
        reduction_within=reduction_within,
    )
    return known.get((table, profile, data), unset)


def _tolerances(reader: Reader, reduction_within: float) -> Tolerances:
    margins: dict[str, dict[str, Margin]] = {}
    for number, entry in enumerate(reader.tables("margin")):
        inner = Reader(f"{reader.where}, margin {number}", entry)
        framework, metric = inner.text("framework"), inner.text("metric")
        if metric in margins.setdefault(framework, {}):
            raise SettingsError(f"{inner.where}: {framework}, {metric} appears twice. Merge the entries.")
        try:
            margins[framework][metric] = Margin(
                delta_points=inner.number("delta_points"), sd_floor_points=inner.number("sd_floor_points")
            )
        except ValueError as error:
            raise SettingsError(f"{inner.where}: {error}") from error
        inner.close()
    tolerances = Tolerances(
        judged_metric=reader.text("judged_metric"),
        alpha=reader.level("alpha"),
        equal_spread_alpha=reader.level("equal_spread_alpha"),
        margins=margins,
        reduction_within=reduction_within,
    )
    reader.close()
    return tolerances
