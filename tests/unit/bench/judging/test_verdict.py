import random
import re

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_ind

from bench.judging.statistics import Comparison, Spread, brown_forsythe_p, compare, holm, pooled_spread
from bench.judging.verdict import Judgement, Margin, Verdict, judge, judge_together

# Worked by hand: mean 50, squares 0 + .16 + .04 + .04 + .16 = .4 over 4 degrees, sd = sqrt(.1) = .3162278;
# one new run: error = .3162278 sqrt(1 + 1/5) = .3464102; t(.95; 4) = 2.131847; half width = .7384933.
REFERENCE = [50.0, 50.4, 49.8, 50.2, 49.6]
HALF_WIDTH = 0.7384933


@pytest.mark.parametrize(
    ("shift", "delta", "expected"),
    [
        (0.2, 0.2 + HALF_WIDTH + 1e-4, Verdict.REPRODUCED),
        (0.2, 0.2 + HALF_WIDTH - 1e-4, Verdict.INCONCLUSIVE),
        (-0.2, 0.2 + HALF_WIDTH + 1e-4, Verdict.REPRODUCED),
        (HALF_WIDTH + 1e-4, 0.5, Verdict.DEVIATES),
        (HALF_WIDTH - 1e-4, 0.5, Verdict.INCONCLUSIVE),
        (-HALF_WIDTH - 1e-4, 0.5, Verdict.DEVIATES),
        (HALF_WIDTH + 1e-4, HALF_WIDTH + 2e-4, Verdict.INCONCLUSIVE),  # real, but inside the margin
    ],
)
def test_the_worked_example(shift: float, delta: float, expected: Verdict) -> None:
    assert judge([50.0 + shift], REFERENCE, Margin(delta_points=delta)).verdict is expected


def test_the_worked_example_with_two_new_runs() -> None:
    """Squares .4 + .02 over 5 degrees: sd .2898, error .2425, t(.95; 5) = 2.0150, half width .4886."""
    new = [50.2, 50.4]
    assert judge(new, REFERENCE, Margin(delta_points=0.7887)).verdict is Verdict.REPRODUCED
    assert judge(new, REFERENCE, Margin(delta_points=0.7885)).verdict is Verdict.INCONCLUSIVE


def test_equivalence_agrees_with_statsmodels() -> None:
    generator = random.Random(1)
    for _ in range(300):
        sd, shift = generator.uniform(0.05, 2), generator.uniform(-2, 2)
        new = [generator.gauss(50 + shift, sd) for _ in range(generator.randint(2, 6))]
        reference = [generator.gauss(50, sd) for _ in range(generator.randint(3, 10))]
        delta = generator.uniform(0.2, 3)
        comparison = compare(new, reference, pooled_spread([new, reference]))
        oracle, *_ = ttost_ind(np.array(new), np.array(reference), -delta, delta, usevar="pooled")
        assert comparison.equivalence_p(delta) == pytest.approx(oracle, rel=1e-9, abs=1e-300)


def test_holm_agrees_with_statsmodels() -> None:
    generator = random.Random(2)
    for size in (1, 2, 5, 16):
        p_values = [generator.random() ** 4 for _ in range(size)] + [0.01, 0.01]
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], rel=1e-12)


def test_brown_forsythe_agrees_with_scipy() -> None:
    generator = random.Random(3)
    for _ in range(50):
        groups = [[generator.gauss(0, sd) for _ in range(generator.randint(3, 7))] for sd in (0.5, 1, 2)]
        assert brown_forsythe_p(groups) == pytest.approx(stats.levene(*groups, center="median").pvalue)


def test_brown_forsythe_knows_constant_groups() -> None:
    assert brown_forsythe_p([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]) == 1.0
    assert brown_forsythe_p([[1.0, 1.0], [2.0, 4.0]]) == 0.0
    assert brown_forsythe_p([[1.0, 2.0, 3.0]]) == 1.0


# Verdict frequencies at delta 1 and floor .1, measured with 4000 draws.
@pytest.mark.parametrize(
    ("sd", "stored", "fresh", "shift", "expected"),
    [
        (0.5, 5, 3, -1.0, (0.05, 0.46, 0.49)),
        (0.5, 5, 1, 0.0, (0.16, 0.80, 0.04)),
        (0.25, 5, 1, 0.0, (0.81, 0.19, 0.00)),
        (0.5, 10, 5, -0.5, (0.54, 0.43, 0.03)),
    ],
)
def test_verdicts_come_as_often_as_measured(
    sd: float, stored: int, fresh: int, shift: float, expected: tuple[float, float, float]
) -> None:
    generator, draws = np.random.default_rng(0), 1500
    margin = Margin(delta_points=1.0, sd_floor_points=0.1)
    verdicts = [
        judge(
            generator.normal(50 + shift, sd, fresh).tolist(),
            generator.normal(50, sd, stored).tolist(),
            margin,
        ).verdict
        for _ in range(draws)
    ]
    judged = (Verdict.REPRODUCED, Verdict.INCONCLUSIVE, Verdict.DEVIATES)
    found = [verdicts.count(verdict) / draws for verdict in judged]
    assert found == pytest.approx(expected, abs=0.045)  # 3.3 standard errors of a difference at .5


def test_too_few_references_are_no_reference() -> None:
    judgement = judge([50.0], [50.0, 50.0], Margin(delta_points=1.0))
    assert judgement.verdict is Verdict.NO_REFERENCE
    assert judgement.reason == "2 references, 3 needed: `nox -s record -- TABLE` makes them."


def test_the_floor_guards_against_lucky_runs() -> None:
    lucky = [50.0, 50.0, 50.0, 50.0]
    assert judge([50.5], lucky, Margin(delta_points=1.0)).verdict is Verdict.REPRODUCED
    assert judge([50.5], lucky, Margin(delta_points=1.0, sd_floor_points=1.0)).verdict is Verdict.INCONCLUSIVE


def test_the_difference_is_new_minus_stored() -> None:
    judgement = judge([44.0], REFERENCE, Margin(delta_points=1.0))
    assert judgement.verdict is Verdict.DEVIATES
    assert judgement.reason.startswith("-6.00 points")


def test_the_named_number_of_runs_settles_the_cell() -> None:
    spread = Spread(1.0, 40)
    for difference in (0.0, 0.4, 1.7):
        (judgement,) = _together(difference, spread, new=1).values()
        assert judgement.verdict is Verdict.INCONCLUSIVE
        found = re.search(r"n = (\d+) new runs would settle it", judgement.reason)
        assert found
        for runs, verdict_is_settled in ((int(found[1]), True), (int(found[1]) - 1, False)):
            (again,) = _together(difference, Spread(1.0, 40 + runs - 1), new=runs).values()
            assert (again.verdict is not Verdict.INCONCLUSIVE) is verdict_is_settled


def test_the_named_number_of_runs_settles_a_cell_among_others() -> None:
    """A cell that deviates must do so at alpha over the number of cells: the same difference wants more runs."""
    moved = Comparison(difference=1.7, spread=Spread(1.0, 40), new_runs=1, reference_runs=8)
    quiet = Comparison(difference=0.0, spread=Spread(1.0, 40), new_runs=1, reference_runs=8)
    wanted = []
    for others in (0, 9):
        cells = {"moved": moved} | {f"quiet{index}": quiet for index in range(others)}
        judged = judge_together(cells, dict.fromkeys(cells, Margin(delta_points=1.2)), alpha=0.05)
        found = re.search(r"n = (\d+) new runs would settle it", judged["moved"].reason)
        assert found
        wanted.append(int(found[1]))
    alone, among = wanted
    assert alone < among
    assert moved.with_runs(among, 8).deviation_p(1.2) < 0.05 / 10
    assert moved.with_runs(among - 1, 8).deviation_p(1.2) >= 0.05 / 10


def test_more_references_are_asked_for_where_new_runs_cannot_settle_it() -> None:
    (judgement,) = _together(0.9, Spread(1.0, 40), new=1).values()
    assert re.search(r"n = \d+ new runs and as many references", judgement.reason)
    (judgement,) = _together(1.1999, Spread(1.0, 40), new=1).values()
    assert "not even 1000 runs" in judgement.reason


def _together(difference: float, spread: Spread, new: int) -> dict[str, Judgement]:
    comparison = Comparison(difference=difference, spread=spread, new_runs=new, reference_runs=8)
    return judge_together({"a": comparison}, {"a": Margin(delta_points=1.2)}, alpha=0.05)


def test_deviates_is_corrected_for_the_number_of_cells() -> None:
    """Alone p = .02 suffices; among five cells it does not."""
    one = Comparison(difference=-2.1, spread=Spread(1.0, 60), new_runs=1, reference_runs=20)
    quiet = Comparison(difference=0.0, spread=Spread(1.0, 60), new_runs=1, reference_runs=20)
    assert 0.01 < one.deviation_p(0.5) < 0.05
    for others, expected in ((0, Verdict.DEVIATES), (4, Verdict.INCONCLUSIVE)):
        cells = {"moved": one} | {f"quiet{index}": quiet for index in range(others)}
        margins = dict.fromkeys(cells, Margin(delta_points=0.5))
        assert judge_together(cells, margins, alpha=0.05)["moved"].verdict is expected


@pytest.mark.parametrize(("new", "reference"), [([], [1.0]), ([1.0], []), ([float("nan")], [1.0])])
def test_nothing_and_nan_cannot_be_compared(new: list[float], reference: list[float]) -> None:
    with pytest.raises(ValueError, match="compar"):
        compare(new, reference, Spread(1.0, 4))


def test_every_verdict_but_reproduced_needs_a_reason() -> None:
    for verdict in Verdict:
        if verdict is Verdict.REPRODUCED:
            assert not Judgement(verdict=verdict).reason
        else:
            with pytest.raises(ValueError, match="needs a reason"):
                Judgement(verdict=verdict)


@pytest.mark.parametrize("delta", [0.0, -1.0, float("nan"), float("inf")])
def test_a_margin_must_be_positive(delta: float) -> None:
    with pytest.raises(ValueError, match="delta_points"):
        Margin(delta_points=delta)


def test_a_spread_needs_a_repeated_cell() -> None:
    with pytest.raises(ValueError, match="No cell has two runs"):
        pooled_spread([[1.0], [], [2.0]])
    assert pooled_spread([[1.0, 3.0], [], [5.0]]) == Spread(2.0**0.5, 1)
