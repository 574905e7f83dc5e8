from pathlib import Path

import pytest

from bench.judging.settings import SettingsError
from bench.judging.tolerances import Tolerances, load_tolerances
from bench.tables import TABLES
from tests.table_sizes import SIZES

TABLE = """
reduction_within = 0.02
[[table]]
name = "cifar10"
profile = "smoke"
data = "cifar10"
judged_metric = "knn_top1_percent"
alpha = 0.05
equal_spread_alpha = 0.01
[[table.margin]]
framework = "simclr"
metric = "knn_top1_percent"
delta_points = 2
sd_floor_points = 0.5
"""


def _load(folder: Path, text: str) -> Tolerances:
    path = folder / "tolerances.toml"
    path.write_text(text)
    return load_tolerances("cifar10", "smoke", "cifar10", path)


def test_a_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tolerances.toml"
    path.write_text(TABLE)
    found = load_tolerances("cifar10", "smoke", "cifar10", path)
    assert (found.judged_metric, found.alpha, found.equal_spread_alpha) == ("knn_top1_percent", 0.05, 0.01)
    assert found.reduction_within == 0.02
    margin = found.margin("simclr")
    assert (margin.delta_points, margin.sd_floor_points) == (2.0, 0.5)
    with pytest.raises(SettingsError, match="no margin for knn_top1_percent of byol"):
        found.margin("byol")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("alpha = 0.05\n", "alpha = 0.05\nbeta = 1\n", "unknown entries beta"),
        ("alpha = 0.05\n", "", "alpha is missing"),
        ("delta_points = 2\n", "delta = 2\n", "delta_points is missing"),
        ("sd_floor_points = 0.5\n", "sd_floor_points = 0.5\nmargin = 1\n", "unknown entries margin"),
        ("delta_points = 2", "delta_points = -2", "must be positive"),
        ("delta_points = 2", 'delta_points = "2"', "must be a number"),
        ("delta_points = 2", "delta_points = true", "must be a number"),
        ("alpha = 0.05", "alpha = 0.5", r"must lie in \(0, 0.5\)"),
        ("delta_points = 2", "delta_points = nan", "must be a number, and finite"),
        ("delta_points = 2", "delta_points = inf", "must be a number, and finite"),
        ("sd_floor_points = 0.5", "sd_floor_points = -0.5", r"table\[0\]\.margin\[0\]: sd_floor_points is -0\.5"),
        ("sd_floor_points = 0.5", "sd_floor_points = nan", "must be a number, and finite"),
        ("alpha = 0.05", "alpha = nan", "must be a number, and finite"),
        ("reduction_within = 0.02", "reduction_within = inf", "must be a number, and finite"),
        ("reduction_within = 0.02", "reduction_within = -0.02", r"must lie in \(0, 0\.5\)"),
        ('name = "cifar10"', 'name = ""', "must be a text"),
        ('name = "cifar10"', 'name = "cifar11"', "name 'cifar11' is unknown. Did you mean 'cifar10'"),
        ('profile = "smoke"', 'profile = "smok"', "profile 'smok' is unknown. Did you mean 'smoke'"),
        ('data = "cifar10"', 'data = "cifar1000"', "data 'cifar1000' is unknown. Did you mean 'cifar100'"),
        ('framework = "simclr"', 'framework = "simclear"', "framework 'simclear' is unknown. Did you mean 'simclr'"),
        (
            '"knn_top1_percent"\ndelta',
            '"knn_top1_percen"\ndelta',
            r"Did you mean 'knn_top1_percent'\? Choose",
        ),
        ('judged_metric = "knn_top1_percent"', 'judged_metric = "knn"', "judged_metric 'knn' is unknown"),
        ("alpha = 0.05", "alpha = 0.05\nalpha = 0.05", "not a readable TOML"),
        ("[[table]]", "alpha = 0.1\n[[table]]", "unknown entries alpha"),
        ("reduction_within = 0.02\n", "", "reduction_within is missing"),
        ("[[table.margin]]", "[table.margin]", "array of tables"),
        ("[[table]]", "[[table]", "not a readable TOML"),
    ],
)
def test_a_slip_of_the_pen_is_an_error(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TABLE
    with pytest.raises(SettingsError, match=message):
        _load(tmp_path, TABLE.replace(old, new, 1))


def test_own_images_have_no_tolerances(tmp_path: Path) -> None:
    assert _load(tmp_path, TABLE).is_set
    assert not _load(tmp_path, TABLE.replace('profile = "smoke"', 'profile = "cpu"')).is_set


def test_repeated_tables_and_margins_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cifar10/smoke/cifar10 appears twice"):
        _load(tmp_path, TABLE + TABLE[TABLE.index("[[table]]") :])
    with pytest.raises(SettingsError, match="simclr, knn_top1_percent appears twice"):
        _load(tmp_path, TABLE + TABLE[TABLE.index("[[table.margin]]") :])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        load_tolerances("cifar10", "smoke", "cifar10", tmp_path / "nowhere.toml")


@pytest.mark.parametrize(("name", "profile"), SIZES)
def test_every_framework_of_every_table_has_a_margin(name: str, profile: str) -> None:
    data = TABLES[name].data
    spec = TABLES[name](profile, data)
    tolerances = load_tolerances(name, profile, data)
    for cell in spec.names:
        assert tolerances.margin(cell.partition("/")[0]).delta_points > 0
