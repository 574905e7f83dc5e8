import dataclasses
import math

import pytest

from bench.judging.judge import assemble
from bench.judging.judged_table import JudgedTable
from bench.judging.statistics import Spread
from bench.judging.verdict import Verdict
from bench.runs.outcomes import Failed, NotRun, Outcome
from bench.runs.record import Record, RecordError
from tests.made_up_tables import (
    LINEAR,
    made_up_claim,
    made_up_claims,
    made_up_record,
    made_up_records,
    made_up_run,
    made_up_spec,
    made_up_tolerances,
)

DENSE, SPARSE = made_up_run(), made_up_run("gradual", density=0.1)
SPEC = made_up_spec(DENSE, SPARSE)
DENSE_REFERENCES = made_up_records(DENSE, [50.0, 50.4, 49.6, 50.6, 49.4], first_seed=0)
SPARSE_REFERENCES = made_up_records(SPARSE, [45.0, 45.4, 44.6, 45.6, 44.4], first_seed=0)
REFERENCES = [*DENSE_REFERENCES, *SPARSE_REFERENCES]
DENSE_NEW = made_up_records(DENSE, [50.1], first_seed=100)
SPARSE_NEW_RUN = dataclasses.replace(SPARSE, seed=100)
SPARSE_NEW = made_up_records(SPARSE, [45.1], first_seed=100)


def _assembled(outcomes: list[Outcome] | None, references: list[Record] | None = None) -> JudgedTable:
    stored = REFERENCES if references is None else references
    return assemble(SPEC, outcomes, stored, made_up_tolerances(), made_up_claims())


def _verdicts(table: JudgedTable) -> list[Verdict]:
    return [row.judgement.verdict for row in table.rows]


def test_an_unmoved_table_is_reproduced() -> None:
    table = _assembled([*DENSE_NEW, *SPARSE_NEW])
    assert _verdicts(table) == [Verdict.REPRODUCED] * 2
    assert table.exit_code() == table.exit_code(strict=True) == 0
    assert table.control_missed == ()
    assert table.rows[0].difference(LINEAR) == pytest.approx(0.1)


def test_runs_whose_exact_facts_moved_bear_no_claim() -> None:
    """Their cells DEVIATE: a claim that they decided would be about other code or other images."""
    left = made_up_run("synchronized", density=0.1, gap=0.3)
    spec = made_up_spec(DENSE, SPARSE, left, profile="cpu")
    references = [*REFERENCES, *made_up_records(left, [47.0, 47.4, 46.6, 47.6, 46.4], first_seed=0)]
    for facts, verdict in (({}, True), ({"update_steps": [120]}, False), ({"data_fingerprint": "dead"}, False)):
        made = [made_up_records(run, [50.0, 50.4], first_seed=100) for run in (DENSE, SPARSE, left)]
        runs = [dataclasses.replace(each, facts={**each.facts, **facts}) for found in made for each in found]
        (claim,) = assemble(
            spec, runs, references, made_up_tolerances(), made_up_claims(made_up_claim()), claimed=spec.names
        ).claims
        assert (claim.judgement.verdict is not Verdict.NOT_JUDGED) is verdict


def test_fresh_runs_on_different_images_make_no_table() -> None:
    other = made_up_record(SPARSE_NEW_RUN, 45.0, facts={"data_fingerprint": "dead"})
    with pytest.raises(RecordError, match="were trained on different images"):
        _assembled([*DENSE_NEW, other], [])


def test_a_degraded_cell_deviates_and_fails() -> None:
    table = _assembled([*DENSE_NEW, *made_up_records(SPARSE, [40.0], first_seed=100)])
    assert _verdicts(table) == [Verdict.REPRODUCED, Verdict.DEVIATES]
    assert table.rows[1].judgement.reason.startswith("-5.00 points")
    assert table.exit_code() == 1


def test_a_broken_structure_deviates_whatever_the_accuracy() -> None:
    sabotaged = made_up_record(SPARSE_NEW_RUN, 45.0, facts={"kept_weights": 101})
    table = _assembled([*DENSE_NEW, sabotaged])
    judgement = table.rows[1].judgement
    assert judgement.verdict is Verdict.DEVIATES
    assert "kept_weights: expected 100" in judgement.reason
    assert "re-record, and say why" in judgement.reason
    assert table.exit_code() == 1
    assert table.design
    assert list(table.design.comparisons) == [DENSE.cell]


def test_structure_is_compared_even_with_one_reference() -> None:
    sabotaged = made_up_record(SPARSE_NEW_RUN, 45.0, facts={"update_steps": []})
    table = _assembled([*DENSE_NEW, sabotaged], [*DENSE_REFERENCES, SPARSE_REFERENCES[0]])
    assert _verdicts(table)[1] is Verdict.DEVIATES


def test_an_open_cell_fails_only_strictly() -> None:
    table = _assembled([*DENSE_NEW, *made_up_records(SPARSE, [47.6], first_seed=100)])
    assert _verdicts(table) == [Verdict.REPRODUCED, Verdict.INCONCLUSIVE]
    assert "would settle it" in table.rows[1].judgement.reason
    assert (table.exit_code(), table.exit_code(strict=True)) == (0, 1)


@pytest.mark.parametrize(("outcome", "expected"), [(Failed, Verdict.FAILED), (NotRun, Verdict.NOT_RUN)])
def test_a_run_without_a_record_fails_its_cell(outcome: type[Failed | NotRun], expected: Verdict) -> None:
    broken = outcome(run_id="x", cell=SPARSE.cell, seed=101, reason="the disk is full")
    table = _assembled([*DENSE_NEW, *SPARSE_NEW, broken])
    assert _verdicts(table) == [Verdict.REPRODUCED, expected]
    assert table.rows[1].judgement.reason == "seed 101: the disk is full"
    assert table.rows[1].new[LINEAR].n == 1
    assert table.exit_code() == 1


def test_a_cell_without_an_outcome_was_not_run() -> None:
    assert _verdicts(_assembled([*DENSE_NEW])) == [Verdict.REPRODUCED, Verdict.NOT_RUN]


def test_without_references_nothing_is_judged() -> None:
    table = _assembled([*DENSE_NEW, *SPARSE_NEW], [])
    assert _verdicts(table) == [Verdict.NO_REFERENCE] * 2
    assert table.exit_code() == 1
    some = _assembled([*DENSE_NEW, *SPARSE_NEW], DENSE_REFERENCES)
    assert _verdicts(some) == [Verdict.REPRODUCED, Verdict.NO_REFERENCE]
    assert some.exit_code() == 0


def test_references_made_with_other_settings_do_not_count() -> None:
    other = dataclasses.replace(SPARSE, optimizer=dataclasses.replace(SPARSE.optimizer, epochs=6))
    stored = [*DENSE_REFERENCES, *made_up_records(other, [45.0] * 5, first_seed=0)]
    judgement = _assembled([*DENSE_NEW, *SPARSE_NEW], stored).rows[1].judgement
    assert judgement.verdict is Verdict.NO_REFERENCE
    assert "settings changed since the reference simclr-gradual-element-d0.10-s0-" in judgement.reason


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 100.1])
def test_a_metric_that_is_no_percentage_is_a_failure(value: float) -> None:
    table = _assembled([*DENSE_NEW, *made_up_records(SPARSE, [value], first_seed=100)])
    assert _verdicts(table) == [Verdict.REPRODUCED, Verdict.FAILED]
    assert "no percentage" in table.rows[1].judgement.reason


def test_foreign_and_double_outcomes_are_refused() -> None:
    foreign = made_up_record(made_up_run("static_erk", density=0.1, seed=100), 45.0)
    with pytest.raises(ValueError, match=r"static_erk.* is a run of none of the requested cells"):
        _assembled([*DENSE_NEW, foreign])
    with pytest.raises(ValueError, match="more than one outcome"):
        _assembled([*DENSE_NEW, *DENSE_NEW])


def test_references_are_shown_but_not_judged_against_themselves() -> None:
    table = _assembled(None)
    assert _verdicts(table) == [Verdict.NOT_JUDGED] * 2
    assert len(table.records) == 10
    assert table.rows[0].new[LINEAR].n == 0
    assert table.rows[0].facts["density_prunable"] == 1.0
    assert table.exit_code() == 0
    assert _assembled(None, []).exit_code() == 1  # there is nothing to show


def test_a_repetition_is_counted_and_compared_bit_by_bit() -> None:
    table = _assembled([DENSE_REFERENCES[0], *SPARSE_NEW])
    assert table.repetitions == 1
    assert _verdicts(table) == [Verdict.REPRODUCED] * 2
    moved = dataclasses.replace(DENSE_REFERENCES[0], metrics={LINEAR: 50.01, "knn_top1_percent": 40.0})
    judgement = _assembled([moved, *SPARSE_NEW]).rows[0].judgement
    assert judgement.verdict is Verdict.DEVIATES
    assert "metrics.linear_top1_percent: expected 50.0" in judgement.reason


def test_the_spread_is_pooled_over_cells_that_were_not_requested_too() -> None:
    table = assemble(SPEC.select("*/dense/*"), DENSE_NEW, REFERENCES, made_up_tolerances(), made_up_claims())
    assert table.design
    assert set(table.design.pools.values()) == {"simclr"}
    assert table.design.comparisons[DENSE.cell].spread.degrees == 8
    # squares .16 + .16 + .36 + .36 per cell, over 4 degrees each
    assert table.design.comparisons[DENSE.cell].spread.sd == pytest.approx(0.26**0.5)


def test_a_framework_that_spreads_more_does_not_widen_the_others() -> None:
    """One spread for all would call the noisy framework's runs moved, and be blind in the quiet one."""
    noisy = made_up_run("dense", framework="byol")
    spec = made_up_spec(DENSE, SPARSE, noisy)
    stored = [*REFERENCES, *made_up_records(noisy, [30.0, 34.0, 38.0, 42.0, 46.0], first_seed=0)]
    fresh = [*DENSE_NEW, *SPARSE_NEW, *made_up_records(noisy, [45.0], first_seed=100)]
    table = assemble(spec, fresh, stored, made_up_tolerances(), made_up_claims())
    assert table.design
    assert table.design.pools == {DENSE.cell: "simclr", SPARSE.cell: "simclr", noisy.cell: "byol"}
    spreads = {cell: item.spread.sd for cell, item in table.design.comparisons.items()}
    assert spreads[DENSE.cell] == spreads[SPARSE.cell] == pytest.approx(0.26**0.5)
    assert spreads[noisy.cell] == pytest.approx(40.0**0.5)


def test_the_new_runs_count_towards_the_spread() -> None:
    table = _assembled([*made_up_records(DENSE, [50.0, 51.0], first_seed=100), *SPARSE_NEW])
    assert table.design
    spread = table.design.comparisons[SPARSE.cell].spread
    assert spread.degrees == 9
    assert spread.sd == pytest.approx(((2 * 1.04 + 0.5) / 9) ** 0.5)


def test_cells_that_spread_unequally_keep_their_own_spread() -> None:
    wide = made_up_records(SPARSE, [30.0, 36.0, 42.0, 48.0, 54.0, 60.0], first_seed=0)
    calm = made_up_records(DENSE, [50.0, 50.1, 50.2, 49.9, 49.8, 50.0], first_seed=0)
    table = _assembled([*DENSE_NEW, *SPARSE_NEW], [*calm, *wide])
    assert table.design
    assert table.design.pools == {DENSE.cell: DENSE.cell, SPARSE.cell: SPARSE.cell}
    spreads = [item.spread for item in table.design.comparisons.values()]
    assert spreads[0].sd == pytest.approx(0.3)  # the floor
    assert spreads[1].sd == pytest.approx(126.0**0.5)


def test_a_deviating_claim_does_not_touch_the_exit_code() -> None:
    synchronized = made_up_run("synchronized", density=0.1, gap=0.3)
    spec = made_up_spec(SPARSE, synchronized, profile="cpu")
    stored = [*SPARSE_REFERENCES, *made_up_records(synchronized, [40.0, 40.4, 39.6], first_seed=0)]
    outcomes = [*SPARSE_NEW, *made_up_records(synchronized, [40.0], first_seed=100)]
    table = assemble(spec, outcomes, stored, made_up_tolerances(), made_up_claims())
    assert table.exit_code() == 0
    assert table.claims[0].judgement.verdict is Verdict.NOT_JUDGED  # one seed a cell: no spread is known
    more = [*outcomes, *made_up_records(SPARSE, [45.0, 45.2], first_seed=101)]
    table = assemble(spec, more, stored, made_up_tolerances(), made_up_claims())
    assert table.claims[0].judgement.verdict is Verdict.DEVIATES
    assert table.exit_code() == 0


def test_the_sample_of_a_cell_is_summed_up() -> None:
    table = _assembled([*made_up_records(DENSE, [50.0, 52.0, 51.0], first_seed=100), *SPARSE_NEW])
    sample = table.rows[0].new[LINEAR]
    assert (sample.n, sample.mean) == (3, 51.0)
    assert sample.sd == pytest.approx(1.0)
    assert sample.interval == pytest.approx((51 - 4.302653 / 3**0.5, 51 + 4.302653 / 3**0.5))
    assert table.rows[1].new[LINEAR].interval is None


def test_a_blind_judge_fails_only_strictly() -> None:
    """Two degrees of freedom and a corrected level do not see a planted loss: green verdicts mean little then."""
    table = _assembled([*DENSE_NEW, *SPARSE_NEW])
    assert table.design
    blind = {cell: dataclasses.replace(item, spread=Spread(1.0, 1)) for cell, item in table.design.comparisons.items()}
    design = dataclasses.replace(table.design, comparisons=blind)
    table = dataclasses.replace(table, design=design, power=design.power(str))
    assert table.control_missed == (DENSE.cell, SPARSE.cell)
    assert (table.exit_code(), table.exit_code(strict=True)) == (0, 1)


def test_of_a_row_brought_to_anothers_cost_training_macs_are_counted_per_step_of_the_other() -> None:
    halved = [
        dataclasses.replace(item, facts={**item.facts, "optimizer_steps": 200, "training_macs_ratio": 0.5})
        for item in SPARSE_REFERENCES
    ]
    for leaders, ratio in (((), 0.5), (((SPARSE.cell, DENSE.cell),), 0.25)):
        spec = dataclasses.replace(SPEC, leaders=leaders)
        table = assemble(spec, None, [*DENSE_REFERENCES, *halved], made_up_tolerances(), made_up_claims())
        assert table.rows[1].facts["training_macs_ratio"] == ratio
        assert table.rows[0].facts["training_macs_ratio"] == DENSE_REFERENCES[0].facts["training_macs_ratio"]


def test_runs_whose_gates_missed_the_reduction_are_counted() -> None:
    gates = {"reduction_asked": 2.0, "reduction": 1.5, "reduction_target": 1.0}
    runs = [
        made_up_record(dataclasses.replace(SPARSE, seed=seed), 45.0, facts=gates | {"reduction": found})
        for seed, found in ((100, 1.5), (101, 2.01), (102, 2.5))
    ]
    assert [row.missed for row in _assembled([*DENSE_NEW, *runs]).rows] == [0, 2]
