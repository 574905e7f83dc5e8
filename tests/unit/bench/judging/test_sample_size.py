"""Seeds are added by precision alone."""

import dataclasses
from collections.abc import Sequence

import pytest

from bench.judging.claim_judge import JudgedClaim, Pair
from bench.judging.sample_size import BLOCK, LEAST, MOST, half_width, wanted
from bench.judging.statistics import Comparison, Spread
from bench.judging.verdict import Judgement, Verdict
from tests.made_up_tables import made_up_claim


def _pair(sd: float, runs: int, difference: float) -> Pair:
    comparison = Comparison(difference=difference, spread=Spread(sd, 70), new_runs=runs, reference_runs=runs)
    return Pair(left="a", right="b", comparison=comparison)


def _judged(runs: int, *, sds: Sequence[float] = (), difference: float = 0.0, is_primary: bool = True) -> JudgedClaim:
    return JudgedClaim(
        claim=made_up_claim(is_primary=is_primary),
        judgement=Judgement(verdict=Verdict.INCONCLUSIVE, reason="whatever"),
        pairs=tuple(_pair(sd, runs, difference) for sd in sds),
    )


@pytest.mark.parametrize(
    ("seeds", "sds", "expected"),
    [
        (0, (), LEAST),
        (5, (0.1,), LEAST),  # precise, and still too few
        (8, (0.5,), 8),  # t(.95; 70) 0.5 sqrt(2/8) = 0.42
        (8, (0.7,), 12),  # 0.58
        (8, (0.5, 0.7), 12),  # the widest decides
        (9, (0.7,), 12),
        (12, (0.7,), 12),  # 0.48
        (22, (2.0,), MOST),
        (24, (2.0,), 24),
        (30, (2.0,), 30),
    ],
)
def test_seeds_come_in_blocks_until_every_interval_is_narrow(seeds: int, sds: Sequence[float], expected: int) -> None:
    found = wanted(_judged(seeds, sds=sds), seeds)
    assert found == expected
    assert found % BLOCK == 0 or found == seeds


@pytest.mark.parametrize("difference", [-9.0, 0.0, 0.6, 9.0])
def test_what_was_found_neither_stops_nor_prolongs(difference: float) -> None:
    for seeds in (8, 12, 16):
        judged = _judged(seeds, sds=(0.7,), difference=difference)
        assert wanted(judged, seeds) == wanted(_judged(seeds, sds=(0.7,)), seeds)
        for verdict in (Verdict.REPRODUCED, Verdict.DEVIATES):
            other = dataclasses.replace(judged, judgement=Judgement(verdict=verdict, reason="whatever"))
            assert wanted(other, seeds) == wanted(judged, seeds)


def test_claims_that_are_not_primary_add_no_seeds_beyond_the_least() -> None:
    assert wanted(_judged(8, sds=(3.0,), is_primary=False), 8) == 8
    assert wanted(_judged(4, sds=(3.0,), is_primary=False), 4) == LEAST


def test_the_width_is_that_of_the_widest_90_percent_interval() -> None:
    judged = _judged(8, sds=(0.5, 1.0))
    assert half_width(judged.pairs) == pytest.approx(1.66691 * 1.0 * 0.5, rel=1e-4)
    assert half_width(()) is None
