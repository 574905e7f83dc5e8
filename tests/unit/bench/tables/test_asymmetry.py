"""The table of unequal branches has every gap on either side, at one density of the sparser branch."""

import pytest

from bench.config.cell import parse_cell, parse_point
from bench.frameworks import FRAMEWORKS
from bench.tables import TABLES, asymmetry


def points(profile: str, framework: str) -> list[tuple[str, float, float]]:
    cells = (parse_cell(name) for name in TABLES["asymmetry"](profile, "cifar10").names)
    found = ((cell.method, parse_point(cell.point)) for cell in cells if cell.framework == framework)
    return [(method, point.density, point.gap) for method, point in found]


@pytest.mark.parametrize("framework", asymmetry.FRAMEWORKS)
def test_each_gap_stands_on_either_side_and_beside_equal_masks_of_the_exported_density(framework: str) -> None:
    found = points("paper", framework)
    for gap in (0.1, 0.3, 0.5):
        exported = round(0.1 + gap, 2)
        assert ("synchronized", 0.1, gap) in found
        assert ("synchronized", exported, -gap) in found
        assert ("synchronized", exported, 0.0) in found
    assert ("synchronized", 0.1, 0.0) in found
    assert ("synchronized", 0.1, 0.9) in found


@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_the_sparser_branch_keeps_a_tenth_and_only_branches_that_learn_compete(profile: str) -> None:
    for run in TABLES["asymmetry"](profile, "cifar10").cells:
        sparsity = run.sparsity
        if sparsity.gap:
            sparser = min(sparsity.density, sparsity.density + sparsity.gap)
            assert sparser == pytest.approx(0.1)
        if sparsity.method == "sdclr":
            assert getattr(FRAMEWORKS[run.framework.name], "tied") is True  # noqa: B009 (of a class)


def test_the_smoke_table_is_small() -> None:
    assert len(TABLES["asymmetry"]("smoke", "cifar10").cells) <= 25
    assert len(TABLES["asymmetry"]("smoke", "digits").cells) <= 10
