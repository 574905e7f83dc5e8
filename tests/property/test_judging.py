"""Laws of the judge: symmetry, shift, caution, agreement with the published rule."""

import dataclasses
import math

from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from bench.judging.judge import assemble
from bench.judging.statistics import Spread, compare, holm, pooled_spread
from bench.judging.verdict import Margin, Verdict, judge, judge_together
from bench.runs.outcomes import Outcome
from tests.made_up_tables import (
    LINEAR,
    made_up_claims,
    made_up_record,
    made_up_records,
    made_up_run,
    made_up_spec,
    made_up_tolerances,
)

PERCENT = st.integers(0, 2000).map(lambda hits: hits / 20)  # of 2,000 images
RUNS = st.lists(PERCENT, min_size=1, max_size=6)
REFERENCES = st.lists(PERCENT, min_size=3, max_size=8)
DELTA = st.floats(0.1, 10.0)
ALPHA = 0.05


def _published_rule(new: list[float], ref: list[float], delta: float, sd_floor: float) -> tuple[str, float]:
    """The rule as the design states it, with t quantiles; also how near the call was."""
    n, r = len(new), len(ref)
    df = n + r - 2

    def ss(values: list[float]) -> float:
        return sum((value - sum(values) / len(values)) ** 2 for value in values)

    sp = max(math.sqrt((ss(new) + ss(ref)) / df), sd_floor)
    d = sum(new) / n - sum(ref) / r
    h = float(stats.t.ppf(1 - ALPHA, df)) * sp * math.sqrt(1 / n + 1 / r)
    nearest = min(abs(edge) for edge in (d - h + delta, d + h - delta, d - h, d + h, abs(d) - delta))
    if -delta < d - h and d + h < delta:
        return "REPRODUCED", nearest
    if abs(d) > delta and (d - h > 0 or d + h < 0):
        return "DEVIATES", nearest
    return "INCONCLUSIVE", nearest


@given(RUNS, REFERENCES, DELTA, st.floats(0.05, 2.0))
def test_one_cell_is_judged_by_the_published_rule(
    new: list[float], reference: list[float], delta: float, floor: float
) -> None:
    expected, nearest = _published_rule(new, reference, delta, floor)
    assume(nearest > 1e-7)
    margin = Margin(delta_points=delta, sd_floor_points=floor)
    assert judge(new, reference, margin).verdict.value == expected


@given(RUNS, REFERENCES, DELTA)
def test_gains_and_losses_are_judged_alike(new: list[float], reference: list[float], delta: float) -> None:
    margin = Margin(delta_points=delta, sd_floor_points=0.1)
    mirrored = judge([100 - value for value in new], [100 - value for value in reference], margin)
    original = judge(new, reference, margin)
    _, nearest = _published_rule(new, reference, delta, 0.1)
    assume(nearest > 1e-7)
    assert mirrored.verdict is original.verdict


@given(RUNS, REFERENCES, DELTA, st.floats(1.0, 5.0))
def test_a_wider_margin_never_turns_reproduced_into_something_else(
    new: list[float], reference: list[float], delta: float, factor: float
) -> None:
    if judge(new, reference, Margin(delta_points=delta, sd_floor_points=0.1)).verdict is Verdict.REPRODUCED:
        wider = judge(new, reference, Margin(delta_points=delta * factor, sd_floor_points=0.1))
        assert wider.verdict is Verdict.REPRODUCED


@given(RUNS, REFERENCES, DELTA, st.integers(0, 20))
def test_more_cells_never_make_a_cell_deviate(
    new: list[float], reference: list[float], delta: float, others: int
) -> None:
    spread = pooled_spread([new, reference]).floored(0.1)
    quiet = compare([50.0], [50.0, 50.0, 50.0], spread)
    cells = {"": compare(new, reference, spread)} | {str(index): quiet for index in range(others)}
    margins = dict.fromkeys(cells, Margin(delta_points=delta))
    alone = judge(new, reference, Margin(delta_points=delta, sd_floor_points=0.1)).verdict
    together = judge_together(cells, margins, alpha=ALPHA)[""].verdict
    assert together is alone or (alone, together) == (Verdict.DEVIATES, Verdict.INCONCLUSIVE)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_holm_lies_between_nothing_and_bonferroni(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(
        p <= found <= min(1.0, p * len(p_values)) or math.isclose(p, found)
        for p, found in zip(p_values, corrected, strict=True)
    )
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    assert [corrected[index] for index in order] == sorted(corrected)


@given(st.floats(-20, 20), st.floats(0.1, 5), st.integers(1, 9), st.integers(3, 9), DELTA)
def test_no_cell_is_both_the_same_and_different(
    difference: float, sd: float, new: int, stored: int, delta: float
) -> None:
    comparison = compare([50 + difference] * new, [50.0] * stored, Spread(sd, new + stored - 2))
    assert not (comparison.equivalence_p(delta) < ALPHA and comparison.deviation_p(delta) < ALPHA)


DENSE, SPARSE = made_up_run(), made_up_run("gradual", density=0.1)
STORED = st.lists(st.integers(900, 1100).map(lambda hits: hits / 20), min_size=5, max_size=8)


@given(STORED, STORED, st.integers(1, 3), st.sampled_from([DENSE.cell, SPARSE.cell]))
def test_a_planted_loss_of_three_sd_beyond_the_margin_deviates(
    dense: list[float], sparse: list[float], seeds: int, planted: str
) -> None:
    """The positive control, through the whole of ``assemble``; where it is announced as seen, it is seen."""
    spec, tolerances = made_up_spec(DENSE, SPARSE), made_up_tolerances(delta=2.0)
    references = [
        *made_up_records(DENSE, dense, first_seed=0),
        *made_up_records(SPARSE, sparse, first_seed=0),
    ]
    means = {run.cell: math.fsum(values) / len(values) for run, values in ((DENSE, dense), (SPARSE, sparse))}

    def outcomes(loss: float) -> list[Outcome]:
        return [
            made_up_record(run, means[run.cell] - (loss if run.cell == planted else 0.0))
            for run in spec.runs(range(100, 100 + seeds))
        ]

    quiet = assemble(spec, outcomes(0.0), references, tolerances, made_up_claims())
    assert quiet.design
    if planted not in quiet.control_missed:
        loss = 2.0 + 3.0 * quiet.design.comparisons[planted].spread.sd + 1e-9
        moved = assemble(spec, outcomes(loss), references, tolerances, made_up_claims())
        verdicts = {row.cell: row.judgement.verdict for row in moved.rows}
        assert verdicts[planted] is Verdict.DEVIATES
        assert moved.exit_code() == 1


@given(STORED, st.permutations(range(5)))
def test_the_order_of_references_and_outcomes_does_not_matter(values: list[float], order: list[int]) -> None:
    spec, tolerances = made_up_spec(DENSE), made_up_tolerances()
    references = made_up_records(DENSE, values[:5], first_seed=0)
    outcomes = made_up_records(DENSE, values[:5], first_seed=100)
    straight = assemble(spec, outcomes, references, tolerances, made_up_claims())
    shuffled = assemble(
        spec, [outcomes[i] for i in order], [references[i] for i in order], tolerances, made_up_claims()
    )
    assert [dataclasses.replace(row) for row in shuffled.rows] == list(straight.rows)
    assert straight.rows[0].new[LINEAR].values == shuffled.rows[0].new[LINEAR].values
