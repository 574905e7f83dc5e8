import dataclasses
import re

import pytest

from bench.config.cell import CellName, parse_cell
from bench.config.profiles import PROFILES
from bench.config.run import Run
from bench.errors import RunError, UsageError
from bench.tables import TABLES, gating
from bench.training import encoders, parts
from methods import GATES, masking
from methods.allocation import alike
from methods.granularity import parse
from tests.made_up_tables import made_up_run, made_up_spec
from tests.table_sizes import SIZES, WITH_SMOKE

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
    with pytest.raises(RunError, match="FRAMEWORK/METHOD/GRANULARITY/POINT"):
        parse_cell(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a/b/c", "it has 3 parts"),
        ("A/b/-/d0.10", "framework 'A' is no framework's name"),
        ("a//-/d0.10", "method '' is no method's name"),
        ("a/b/4 x 4/d0.10", "granularity '4 x 4'"),
        ("a/b/-/d0.1", "point 'd0.1': its name is d0.10"),
        ("a/b/-/x", "point 'x': it reads"),
    ],
)
def test_a_wrong_name_says_which_part_is_wrong(name: str, message: str) -> None:
    with pytest.raises(RunError, match=message):
        parse_cell(name)


@pytest.mark.parametrize(("name", "profile"), SIZES)
def test_every_cell_of_every_table_parses_back(name: str, profile: str) -> None:
    for cell in TABLES[name](profile, TABLES[name].data).names:
        assert str(parse_cell(cell)) == cell


@pytest.mark.parametrize("name", WITH_SMOKE)
def test_every_cell_of_every_table_can_be_built_and_prunes_every_layer(name: str) -> None:
    for run in TABLES[name]("smoke", TABLES[name].data).cells:
        shapes = parse("-" if run.sparsity.reduction else run.sparsity.granularity)  # gates prune no weight
        parts.method_for(run)
        masked = masking.latent(parts.framework_for(run).online)
        assert all(shapes.fits(weight.shape) for weight in masked.values())


@pytest.mark.parametrize("name", WITH_SMOKE)
def test_the_regression_set_is_small_and_knows_its_cells(name: str) -> None:
    table = TABLES[name]
    spec = table("smoke", table.data)
    chosen = {cell for pattern in table.regression_cells for cell in spec.select(pattern).names}
    assert {parse_cell(cell).framework for cell in chosen} == {parse_cell(cell).framework for cell in spec.names}
    names, covered = ({parse_cell(cell).method for cell in cells} for cells in (spec.names, chosen))
    # A method with another allocation differs in its counts alone: each method once.
    assert {_family(method) for method in names} - {"untrained", "dense"} <= {_family(method) for method in covered}
    assert len(chosen) <= 12


def _family(method: str) -> str:
    return method if method.startswith("static") else re.sub("_(erk|lamp|active)$", "", method)


@pytest.mark.parametrize("profile", PROFILES)
def test_rows_of_the_structured_table_are_equally_dense(profile: str) -> None:
    """In weights, not only in blocks or filters: no row has an advantage from rounding."""
    cells = TABLES["structured"](profile, "cifar10").cells
    encoder, _ = encoders.build(cells[0].encoder)
    masking.install(encoder)
    shapes = {path: weight.shape for path, weight in masking.latent(encoder).items()}
    total = sum(shape.numel() for shape in shapes.values())
    for run in cells:
        if run.sparsity.granularity != "-":
            kept = alike(shapes, run.sparsity.density, parse(run.sparsity.granularity))
            assert sum(kept.values()) == total * run.sparsity.density


def test_structured_smoke_runs_have_the_steps_that_a_mask_schedule_needs() -> None:
    for run in TABLES["structured"]("smoke", "cifar10").cells:
        steps = run.optimizer.epochs * run.steps_per_epoch(run.data.train_images)
        assert steps >= (0 if run.sparsity.method == "untrained" else 200)


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
    with pytest.raises(ValueError, match="'tiny' is not one of smoke, cpu, gpu, paper"):
        made_up_spec(DENSE, profile="tiny")


def test_a_glob_selects_cells() -> None:
    assert SPEC.select("*/synchronized/*").cells == (SPARSE,)
    assert SPEC.select("*") == SPEC


def test_a_glob_without_a_match_lists_the_cells() -> None:
    with pytest.raises(UsageError, match=r"no cell matches 'byol/\*'") as raised:
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


@pytest.mark.parametrize(("name", "profile"), SIZES)
def test_the_untrained_row_takes_no_step_and_the_others_do(name: str, profile: str) -> None:
    for run in TABLES[name](profile, "cifar10").cells:
        assert (run.optimizer.epochs == 0) is (run.sparsity.method == "untrained"), run.cell


def test_the_gating_table_names_every_method_that_gates() -> None:
    assert set(gating.ALL) == set(GATES)
