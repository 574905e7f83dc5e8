import dataclasses

import pytest

from bench.config import Run
from bench.profiles import PROFILES
from bench.table import CellName, parse_cell
from bench.tables import TABLES
from tests.made_up_tables import made_up_run, made_up_spec

DENSE = made_up_run()
SPARSE = made_up_run("synchronized", density=0.1, gap=0.3)
SPEC = made_up_spec(DENSE, SPARSE)


def test_a_name_parses_back() -> None:
    name = "simclr/synchronized/element/d0.10+g0.30"
    assert SPEC.names == ("simclr/dense/-/d1.00", name)
    assert parse_cell(name) == CellName("simclr", "synchronized", "element", "d0.10+g0.30")
    assert str(parse_cell(name)) == name
    assert parse_cell("byol/dual_gate/2:4/t0.50").granularity == "2:4"


@pytest.mark.parametrize(
    "name",
    ["", "a/b/c", "a/b/c/d", "a/b/-/d0.1", "a/b/-/d0.10/x", "a/b/-/d0.10+g0.3", "A/b/-/d0.10", "a//-/d0.10"],
)
def test_another_form_is_no_cell(name: str) -> None:
    with pytest.raises(ValueError, match="FRAMEWORK/METHOD/GRANULARITY/POINT"):
        parse_cell(name)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", TABLES)
def test_every_cell_of_every_table_parses_back(name: str, profile: str) -> None:
    for cell in TABLES[name](profile, name).names:
        assert str(parse_cell(cell)) == cell


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ((), "there are no cells"),
        ((DENSE, SPARSE, DENSE), "simclr/dense/-/d1.00 appear more than once"),
        ((dataclasses.replace(DENSE, seed=1),), "has seed 1"),
        ((dataclasses.replace(DENSE, data=dataclasses.replace(DENSE.data, name="digits")),), "is on digits"),
    ],
)
def test_cells_are_told_apart_and_are_templates(cells: tuple[Run, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made_up_spec(*cells)


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(ValueError, match="'tiny' is not one of smoke, cpu, paper"):
        made_up_spec(DENSE, profile="tiny")


def test_a_glob_selects_cells() -> None:
    assert SPEC.select("*/synchronized/*").cells == (SPARSE,)
    assert SPEC.select("*") == SPEC


def test_a_glob_without_a_match_lists_the_cells() -> None:
    with pytest.raises(ValueError, match=r"no cell matches 'byol/\*'") as raised:
        SPEC.select("byol/*")
    assert all(name in str(raised.value) for name in SPEC.names)


def test_runs_are_cells_with_seeds() -> None:
    runs = SPEC.runs([100, 101])
    assert [(run.cell, run.seed) for run in runs] == [(name, seed) for seed in (100, 101) for name in SPEC.names]
    assert dataclasses.replace(runs[0], seed=0) == DENSE


@pytest.mark.parametrize("seeds", [[], [-1], [1, 1]])
def test_seeds_are_some_and_different(seeds: list[int]) -> None:
    with pytest.raises(ValueError, match="seeds"):
        SPEC.runs(seeds)
