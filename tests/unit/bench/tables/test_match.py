"""Tables at equal cost: what is solved for comes out, what cannot move stays, and what is off is said."""

import dataclasses

import pytest

from bench.config.profiles import PROFILES
from bench.config.sparsity import SparsitySpec
from bench.errors import UsageError
from bench.judging.claims import load_claims
from bench.judging.judge import assemble
from bench.judging.judged_table import JudgedTable
from bench.judging.tolerances import load_tolerances
from bench.report.alarms import alarms
from bench.tables import TABLES
from bench.tables.match import COUNTED, counted_macs, matched
from bench.tables.spec import TableSpec
from methods import METHODS
from tests.made_up_tables import made_up_record

WHOLE = TABLES["cifar10"]("smoke", "cifar10")
UNIFORM = PROFILES["smoke"].run(
    "simclr", SparsitySpec(method="static_uniform", granularity="element", density=0.02), "cifar10"
)
SPEC = dataclasses.replace(part := WHOLE.select("simclr/*"), cells=(*part.cells, UNIFORM))
LEADER = "simclr/synchronized/element/d0.02+g0.30"
MEASURED = {
    run.cell: {"macs_ratio": 0.15, "training_macs_ratio": 0.5, "optimizer_steps": 600.0} for run in SPEC.cells
} | {
    LEADER: {"macs_ratio": 0.22, "training_macs_ratio": 0.65, "optimizer_steps": 600.0},
    "simclr/static_erk/element/d0.02": {"macs_ratio": 0.1, "training_macs_ratio": 0.1, "optimizer_steps": 600.0},
}


def _cell(spec: TableSpec, method: str) -> int:
    return next(index for index, run in enumerate(spec.cells) if f"/{method}/element" in run.cell)


@pytest.mark.parametrize(
    ("method", "as_"), [("static_erk", "static_erk"), ("static_uniform",) * 2, ("rigl", "static_erk")]
)
def test_densities_are_solved_so_that_inference_costs_what_the_leader_costs(method: str, as_: str) -> None:
    found = matched(SPEC, "macs", MEASURED)
    run = found.cells[_cell(found, method)]
    assert counted_macs(run, as_) == pytest.approx(0.22, rel=0.005)
    assert run.sparsity.density > SPEC.cells[_cell(SPEC, method)].sparsity.density


def test_methods_whose_counts_are_known_are_methods() -> None:
    assert set(COUNTED) <= set(METHODS)


def test_where_counts_depend_on_the_weights_the_density_is_foretold_by_a_power_law() -> None:
    run = matched(SPEC, "macs", MEASURED).cells[_cell(SPEC, "gradual")]
    assert run.sparsity.density ** (0.4849428) == pytest.approx(0.22, rel=0.005)  # log .15 / log .02


def test_what_has_no_density_to_solve_for_stays() -> None:
    found = matched(SPEC, "macs", MEASURED)
    for before, after in zip(SPEC.cells, found.cells, strict=True):
        is_moved = "/element/" in before.cell and not before.cell.startswith((LEADER, "simclr/dense_small_images/"))
        assert (before != after) is is_moved, before.cell
    assert [leader for _, leader in found.leaders] == [LEADER] * len(found.leaders)
    assert (found.match, found.stem) == ("macs", "cifar10-smoke-cifar10-16-of-31-at-equal-macs")


def test_every_row_trains_as_long_as_the_leaders_training_macs_last() -> None:
    found = matched(SPEC, "training-macs", MEASURED)
    steps = {run.cell: run.total_steps(12_800) for run in found.cells}
    assert steps[LEADER] == 600
    assert steps["simclr/static_erk/element/d0.02"] == round(600 * 0.65 / 0.1)
    assert steps["simclr/dense/-/d1.00"] == round(600 * 0.65)
    assert steps["simclr/untrained/-/d1.00"] == 0


def test_the_control_on_smaller_images_keeps_its_steps_and_sees_them_as_often_as_it_takes() -> None:
    found = matched(SPEC, "training-macs", MEASURED)
    run = found.cells[next(index for index, run in enumerate(found.cells) if "/dense_small_images/" in run.cell)]
    assert run.total_steps(12_800) == 600
    assert 0.0 < run.views.control_fraction < 0.868333  # as in the table: of gradual_erk, which costs half as much
    # Steps on 8, 16 and 32 pixels cost 1, 4 and 16.
    seen = [run.views.pixels_at(step, 600) or 32 for step in range(600)]
    spent = sum(side**2 / 64 for side in seen) / (588 * 4 + 12 * 16)
    assert spent == pytest.approx(0.65, abs=8 / (588 * 4 + 12 * 16))


def test_a_control_that_no_number_of_steps_makes_so_cheap_is_named() -> None:
    measured = MEASURED | {LEADER: {"training_macs_ratio": 0.1, "optimizer_steps": 600.0}}
    with pytest.raises(UsageError, match=r"dense_small_images/element/d0\.02: .* bring them down from 1 to 0\.2358"):
        matched(SPEC, "training-macs", measured)


def test_equal_density_is_the_table_as_it_is() -> None:
    assert matched(SPEC, "density", {}) is SPEC


def test_what_cannot_be_matched_is_said() -> None:
    with pytest.raises(UsageError, match="its cost is unknown"):
        matched(SPEC, "macs", {})
    with pytest.raises(UsageError, match="at equal reductions of MACs already"):
        matched(TABLES["gating"]("smoke", "cifar10"), "macs", {})
    with pytest.raises(UsageError, match="no row synchronized"):
        matched(WHOLE.select("supervised/*"), "macs", {})


def _judged(erk_macs: float, erk_steps: int) -> JudgedTable:
    spec = matched(SPEC, "training-macs", MEASURED)
    records = [
        made_up_record(
            dataclasses.replace(run, seed=100),
            40.0,
            facts={
                "training_macs_ratio": erk_macs if "static_erk" in run.cell else 1.0,
                "optimizer_steps": erk_steps if "static_erk" in run.cell else 100,
            },
        )
        for run in spec.cells
    ]
    return assemble(spec, records, [], load_tolerances("cifar10", "smoke", "cifar10"), load_claims("cifar10"))


def test_training_macs_of_rows_with_their_own_steps_are_counted_per_step_of_the_leader() -> None:
    table = _judged(0.25, 400)
    assert table.rows[_cell(table.spec, "static_erk")].facts["training_macs_ratio"] == pytest.approx(1.0)
    line = next(iter(alarms(table)))
    assert line.startswith(f"All {len(table.spec.leaders)} rows")


def test_a_row_that_missed_the_cost_is_named_below_the_table() -> None:
    line = next(iter(alarms(_judged(0.5, 400))))
    assert line == (
        "NOT AT EQUAL COST, as measured against the row they were brought to: "
        "simclr/static_erk/element/d0.02 (2.00 times)."
    )


def test_a_row_that_ends_dense_has_no_density_to_solve_for() -> None:
    whole = TABLES["cifar10"]("paper", "cifar10")
    rows = whole.select("simclr/*/element/d0.05*").changed({"encoder.width": "0.125"})
    leader = LEADER.replace("d0.02", "d0.05")
    measured = {run.cell: {"macs_ratio": 0.2 if run.cell == leader else 0.15} for run in rows.cells}
    found = matched(rows, "macs", measured)
    kept = {before.cell for before, after in zip(rows.cells, found.cells, strict=True) if before == after}
    dense_at_the_end = ("sparse_then_dense", "dense_small_images")
    assert kept == {leader, *(f"simclr/{method}/element/d0.05" for method in dense_at_the_end)}
