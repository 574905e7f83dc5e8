"""What a claim's verdict is said to be worth is what drawing tables a thousand times finds."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bench.judging.claim_judge import judge_claims
from bench.judging.claim_power import ClaimPower, Contest, claim_power
from tests.made_up_tables import LINEAR, made_up_claim, made_up_claims

ALPHA, DRAWS = 0.05, 40_000
ONE = Contest(lefts=1, rights=1, sd=0.8, degrees=14, runs=8)
MANY = Contest(lefts=2, rights=5, sd=1.2, degrees=40, runs=12)


class Rates(NamedTuple):
    """Shares of drawn tables."""

    holds: float
    falls_short: float


def _drawn(contests: list[Contest], gain: float) -> Rates:
    """Draw runs of every cell, and the pooled spread, and judge as the rule says, with other code than the judge's."""
    generator = np.random.default_rng(11)
    pairs = sum(contest.lefts * contest.rights for contest in contests)
    least, most = np.full(DRAWS, np.inf), np.full(DRAWS, np.inf)
    for contest in contests:
        lefts, rights = (
            generator.normal(mean, contest.sd / np.sqrt(contest.runs), (DRAWS, count))
            for mean, count in ((gain, contest.lefts), (0.0, contest.rights))
        )
        spread = contest.sd * np.sqrt(generator.chisquare(contest.degrees, DRAWS) / contest.degrees)
        error = spread * np.sqrt(2 / contest.runs)
        smallest: NDArray[np.float64] = (lefts[:, :, None] - rights[:, None, :]).min(axis=(1, 2)) / error
        least = np.minimum(least, smallest - stats.t.isf(ALPHA, contest.degrees))
        most = np.minimum(most, smallest + stats.t.isf(ALPHA / pairs, contest.degrees))
    return Rates(float((least > 0).mean()), float((most < 0).mean()))


@pytest.mark.parametrize("contests", [[ONE], [MANY], [ONE, MANY]], ids=["a pair", "ten pairs", "two frameworks"])
def test_false_alarms_misses_and_power_are_those_of_drawn_tables(contests: list[Contest]) -> None:
    power = claim_power(contests, alpha=ALPHA)
    border, found = _drawn(contests, 0.0), _drawn(contests, power.smallest_gain)
    assert border.holds == pytest.approx(power.false_reproduced, abs=0.004)
    assert border.falls_short == pytest.approx(power.false_deviates, abs=0.004)
    assert found.holds == pytest.approx(0.80, abs=0.01)
    assert max(border) <= ALPHA + 0.004


def test_a_pair_alone_is_wrong_as_often_as_its_level_says() -> None:
    power = claim_power([ONE], alpha=ALPHA)
    assert power.false_reproduced == pytest.approx(ALPHA, abs=0.002)
    assert power.false_deviates == pytest.approx(ALPHA, abs=0.002)


def test_more_opponents_ask_for_more_and_more_seeds_for_less() -> None:
    def gain(**changes: int) -> float:
        return claim_power([dataclasses.replace(ONE, **changes)], alpha=ALPHA).smallest_gain

    assert gain(rights=3) > gain() > gain(runs=16)
    assert claim_power([ONE, MANY], alpha=ALPHA).smallest_gain > claim_power([MANY], alpha=ALPHA).smallest_gain
    assert claim_power([ONE], alpha=ALPHA / 3).smallest_gain > gain()


def test_without_spread_any_gain_is_found() -> None:
    power = claim_power([dataclasses.replace(ONE, sd=0.0)], alpha=ALPHA)
    assert power == ClaimPower(smallest_gain=0.0, false_reproduced=0.0, false_deviates=0.0)


def test_a_judged_claim_knows_what_it_is_worth() -> None:
    """Primary claims at alpha, the others at Holm's hardest step; both from the spread that the verdict rests on."""
    left, right = "simclr/synchronized/element/d0.10+g0.30", "simclr/gradual/element/d0.10"
    cells = {left: {0: 51.0, 1: 52.0, 2: 53.0}, right: {0: 50.0, 1: 51.0, 2: 52.0}}
    claims = made_up_claims(*(made_up_claim(name, is_primary=name == "main") for name in ("main", "b", "c")))
    main, second, third = judge_claims(claims, "cpu", {LINEAR: cells}, list(cells))
    contest = Contest(lefts=1, rights=1, sd=1.0, degrees=4, runs=3)
    assert main.power == claim_power([contest], alpha=ALPHA)
    assert second.power == third.power == claim_power([contest], alpha=ALPHA / 2)
    (skipped,) = judge_claims(made_up_claims(), "smoke", {LINEAR: cells}, list(cells))
    assert skipped.power is None
