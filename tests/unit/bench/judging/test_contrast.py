"""A row beside the dense and the untrained row: differences over shared seeds, intervals, and what is named."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from bench.judging.contrast import base_of, contrast, spreads
from bench.judging.judge import assemble
from bench.judging.judged_table import JudgedTable
from bench.judging.statistics import Spread
from bench.report import page
from tests.made_up_tables import (
    made_up_claims,
    made_up_record,
    made_up_records,
    made_up_run,
    made_up_spec,
    made_up_tolerances,
)

UNTRAINED, DENSE, SPARSE = made_up_run("untrained"), made_up_run(), made_up_run("gradual", density=0.1)
NOISE = (-0.5, 0.1, 0.6, -0.2)


def _table(sparse: float, *, fresh: tuple[float, ...] = (), facts: dict[str, object] | None = None) -> JudgedTable:
    means = {UNTRAINED: 30.0, DENSE: 40.0, SPARSE: sparse}
    references = [
        record
        for run, mean in means.items()
        for record in made_up_records(run, [mean + noise for noise in NOISE], first_seed=0)
    ]
    new = [made_up_record(made_up_run("gradual", density=0.1, seed=100), value, facts=facts) for value in fresh]
    outcomes = [*new, *made_up_records(DENSE, [40.0], first_seed=100)] if fresh else None
    return assemble(made_up_spec(*means), outcomes, references, made_up_tolerances(), made_up_claims())


def test_the_difference_is_taken_over_shared_seeds() -> None:
    values = {"a/x/-/d1.00": {0: 1.0, 1: 2.0, 2: 90.0}, "a/y/-/d1.00": {0: 4.0, 1: 6.0, 7: 50.0}}
    found = contrast("a/x/-/d1.00", "a/y/-/d1.00", values, Spread(1.0, 9))
    assert found
    assert found.is_paired
    assert found.comparison.difference == pytest.approx(-3.5)
    assert (found.comparison.new_runs, found.comparison.reference_runs) == (2, 2)


def test_without_shared_seeds_all_runs_count() -> None:
    values = {"a/x/-/d1.00": {0: 1.0, 1: 2.0}, "a/y/-/d1.00": {7: 50.0}}
    found = contrast("a/x/-/d1.00", "a/y/-/d1.00", values, Spread(1.0, 9))
    assert found
    assert not found.is_paired
    assert (found.comparison.new_runs, found.comparison.reference_runs) == (2, 1)


def test_nothing_is_said_without_runs_or_spread() -> None:
    values = {"a/x/-/d1.00": {0: 1.0}, "a/y/-/d1.00": {0: 4.0}}
    assert contrast("a/x/-/d1.00", "a/y/-/d1.00", values, None) is None
    assert contrast("a/x/-/d1.00", "a/z/-/d1.00", values, Spread(1.0, 9)) is None


@given(st.lists(st.floats(0, 100), min_size=2, max_size=8), st.lists(st.floats(0, 100), min_size=2, max_size=8))
def test_interval_and_test_are_those_of_student(left: list[float], right: list[float]) -> None:
    """Two cells alone, no shared seeds: scipy's two-sample t-test with equal variances is the oracle."""
    assume(np.ptp(left) > 0.1 and np.ptp(right) > 0.1)  # scipy warns where values hardly differ
    cells = {"a/x/-/d1.00": dict(enumerate(left)), "a/y/-/d1.00": dict(enumerate(right, start=100))}
    spread = spreads({cell: [list(runs.values())] for cell, runs in cells.items()})["a"]
    found = contrast("a/x/-/d1.00", "a/y/-/d1.00", cells, spread)
    assert found
    oracle = stats.ttest_ind(left, right)
    assert found.comparison.interval() == pytest.approx(tuple(oracle.confidence_interval(0.95)), rel=1e-6, abs=1e-6)
    above = stats.ttest_ind(left, right, alternative="greater").pvalue
    assert found.comparison.exceeds_p(0.0) == pytest.approx(above, rel=1e-6, abs=1e-9)


def test_the_base_is_the_frameworks_own_and_untrained_encoders_serve_all() -> None:
    cells = ["a/untrained/-/d1.00", "a/dense/-/d1.00", "b/dense/-/d1.00", "b/x/element/d0.10"]
    assert base_of("b/x/element/d0.10", "dense", cells) == "b/dense/-/d1.00"
    assert base_of("b/x/element/d0.10", "untrained", cells) == "a/untrained/-/d1.00"
    assert base_of("a/x/element/d0.10", "dense", cells[2:]) is None


def test_the_dense_row_is_beside_no_dense_row_and_the_untrained_beside_none() -> None:
    untrained, dense, sparse = _table(38.0).rows
    assert untrained.versus_dense is untrained.versus_untrained is dense.versus_dense is None
    assert dense.versus_untrained
    assert dense.versus_untrained.comparison.difference == pytest.approx(10.0)
    assert sparse.versus_dense
    assert sparse.versus_dense.comparison.difference == pytest.approx(-2.0)
    assert sparse.versus_dense.is_paired


def test_versus_dense_is_of_what_ran_and_versus_untrained_of_all_runs() -> None:
    *_, sparse = _table(38.0, fresh=(34.0,)).rows
    assert sparse.versus_dense
    assert sparse.versus_untrained
    assert sparse.versus_dense.comparison.difference == pytest.approx(-6.0)
    assert sparse.versus_dense.comparison.new_runs == 1
    assert sparse.versus_untrained.comparison.new_runs == 4  # the untrained row was not run anew: its seeds pair


@pytest.mark.parametrize(("mean", "is_named"), [(38.0, False), (31.5, False), (30.3, True), (25.0, True)])
def test_a_row_that_is_not_surely_above_untrained_is_named_below_the_table(mean: float, *, is_named: bool) -> None:
    table = _table(mean)
    assert (SPARSE.cell in [row.cell for row in table.not_above_untrained]) is is_named
    (line,) = page(table).alarms
    assert line.startswith("NOT SURELY ABOVE AN UNTRAINED ENCODER: simclr/gradual") is is_named
    assert "One-sided t-test of fresh runs and references together" in line


def test_unhealthy_rows_are_named_below_the_table() -> None:
    ills: dict[str, object] = {"constant_features": 53, "effective_rank": 3.9, "emptied_layers": ["layer4.0.conv2"]}
    (_, line) = page(_table(38.0, fresh=(38.0,), facts=ills)).alarms
    assert line == (
        f"{SPARSE.cell}: 53.0 constant output features (effective rank 3.9), 1.0 layers that the allocation emptied "
        "(means over its runs)."
    )
    healthy: dict[str, object] = {"constant_features": 0, "effective_rank": 27.5, "emptied_layers": []}
    assert len(page(_table(38.0, fresh=(38.0,), facts=healthy)).alarms) == 1
