"""Laws of the judge of claims: another analysis agrees; it is monotone, blind to names of seeds, and exact."""

import dataclasses
import itertools
from collections.abc import Mapping

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench.config.run import UNTRAINED
from bench.judging.claim_judge import JudgedClaim, judge_claims
from bench.judging.claims import Claims
from bench.judging.judge import assemble
from bench.judging.statistics import compare, pooled_spread
from bench.judging.verdict import Margin, Verdict, judge, judge_together
from tests.made_up_tables import (
    LINEAR,
    made_up_claim,
    made_up_claims,
    made_up_records,
    made_up_run,
    made_up_spec,
    made_up_tolerances,
)
from tests.second_opinion import opinions

Values = dict[str, dict[int, float]]
LEFT, FIRST, SECOND, DENSE, FLOOR = (
    *("synchronized/element/d0.10+g0.30", "gradual/element/d0.10", "static_erk/element/d0.10"),
    *("dense/-/d1.00", f"{UNTRAINED}/-/d1.00"),
)
CLAIMS = made_up_claims(
    made_up_claim("main", right=["*/gradual/*"]),
    made_up_claim("all", right=["*/gradual/*", "*/static_erk/*"], is_primary=False),
    made_up_claim("keeps", right=["*/dense/*"], least_gain_points=-1.0, is_primary=False),
    made_up_claim("loses more", left="*/dense/*", right=["*/gradual/*"], beside="moco", is_primary=False),
    made_up_claim("elsewhere", right=["*/gradual/*"], is_primary=False, profiles=["paper"]),
)
CELLS = [f"{framework}/{rest}" for framework in ("moco", "simclr") for rest in (LEFT, FIRST, SECOND, DENSE, FLOOR)]
RANKS = [Verdict.DEVIATES, Verdict.INCONCLUSIVE, Verdict.REPRODUCED]
NEAREST = 1e-6  # calls closer than this to alpha may fall either way


@st.composite
def tables(draw: st.DrawFn) -> Values:
    """Return runs of all cells, in percentages of 2,000 images, with seeds that some cells lack."""
    sd, values = draw(st.sampled_from([0.0, 0.2, 1.0, 3.0])), Values()
    for cell in CELLS:
        mean = 30.0 if UNTRAINED in cell and draw(st.booleans()) else 50.0 + draw(st.integers(-3, 3))
        seeds = draw(st.sets(st.integers(0, 7), min_size=2))
        steps = st.integers(-10, 10).map(lambda step, mean=mean: round(20 * (mean + sd * step / 10)) / 20)  # type: ignore[misc]
        values[cell] = {seed: draw(steps) for seed in sorted(seeds)}
    return values


def _judged(values: Mapping[str, Mapping[int, float]], claims: Claims = CLAIMS) -> dict[str, JudgedClaim]:
    return {item.claim.name: item for item in judge_claims(claims, "cpu", {LINEAR: values}, CELLS)}


def _raw(values: Values) -> list[dict[str, object]]:
    """Return what files of such runs would hold, as far as verdicts rest on it."""
    raw = []
    for cell, runs in values.items():
        framework, method, granularity, point = cell.split("/")
        density, _, gap = point[1:].partition("+g")
        sparsity = {"method": method, "granularity": granularity, "density": float(density), "gap": float(gap or 0)}
        for seed, value in runs.items():
            run = {"framework": {"name": framework}, "sparsity": sparsity, "seed": seed}
            raw.append({"run": run, "metrics": {LINEAR: value}, "facts": {}})
    return raw


@given(tables())
@settings(max_examples=8)  # each is analysed twice, once by the slow ways of another library; so are the stored claims
def test_another_analysis_of_the_raw_files_gives_every_verdict(values: Values) -> None:
    found = opinions(
        _raw(values), dataclasses.asdict(CLAIMS) | {"claim": [*map(dataclasses.asdict, CLAIMS.claims)]}, "cpu", CELLS
    )
    judged = _judged(values)
    assert found.keys() == judged.keys()
    assert found["elsewhere"][0] == "NOT_JUDGED"
    for name, (verdict, near) in found.items():
        if near > NEAREST:
            assert judged[name].judgement.verdict.value == verdict, name


@given(tables(), st.integers(0, 100))
def test_a_better_left_side_never_makes_a_verdict_worse(values: Values, steps: int) -> None:
    better = {
        cell: {seed: value + steps / 20 for seed, value in runs.items()} if LEFT in cell else runs
        for cell, runs in values.items()
    }
    for before, after in zip(_judged(values).values(), _judged(better).values(), strict=True):
        if before.pairs:
            assert RANKS.index(after.judgement.verdict) >= RANKS.index(before.judgement.verdict)


@given(tables(), st.permutations(range(8)), st.randoms(use_true_random=False))
def test_names_and_order_of_seeds_say_nothing(values: Values, names: list[int], random: object) -> None:
    renamed = {
        cell: {100 + names[seed]: value for seed, value in reversed(runs.items())} for cell, runs in values.items()
    }
    shuffled = dict(sorted(renamed.items(), key=lambda item: hash((item[0], str(random)))))
    for before, after in zip(_judged(values).values(), _judged(shuffled).values(), strict=True):
        assert before.judgement == after.judgement
        assert [pair.comparison for pair in before.pairs] == [pair.comparison for pair in after.pairs]


@given(tables())
def test_identical_runs_differ_by_exactly_nothing(values: Values) -> None:
    same = {cell: values[f"{cell.split('/')[0]}/{FIRST}"] if LEFT in cell else runs for cell, runs in values.items()}
    item = _judged(same)["main"]
    assert {pair.comparison.difference for pair in item.pairs} == {0.0}
    assert item.judgement.verdict is Verdict.INCONCLUSIVE


@given(tables())
def test_no_claim_holds_by_cells_below_an_untrained_encoder(values: Values) -> None:
    means = {cell: sum(runs.values()) / len(runs) for cell, runs in values.items()}
    for item in _judged(values).values():
        compared = {cell for pair in item.pairs for cell in pair.cells}
        beneath = {cell for cell in compared if means[cell] < means[f"{cell.split('/')[0]}/{FLOOR}"] - 1e-9}
        assert not (beneath and item.judgement.verdict is Verdict.REPRODUCED)


RUNS = st.lists(st.integers(800, 1200).map(lambda hits: hits / 20), min_size=3, max_size=8)
MARGIN = Margin(delta_points=2.0, sd_floor_points=0.1)


@given(RUNS, RUNS, st.lists(st.floats(0, 30), min_size=2, max_size=2, unique=True))
def test_a_cell_farther_from_its_references_is_never_called_nearer(
    new: list[float], references: list[float], shifts: list[float]
) -> None:
    spread = pooled_spread([new, references]).floored(0.1)
    found = compare(new, references, spread)
    near, far = (dataclasses.replace(found, difference=shift) for shift in sorted(shifts))
    for sign in (1.0, -1.0):
        verdicts = [
            judge_together({"": dataclasses.replace(each, difference=sign * each.difference)}, {"": MARGIN}, alpha=0.05)
            for each in (near, far)
        ]
        first, second = (RANKS[::-1].index(each[""].verdict) for each in verdicts)
        assert first <= second


@given(RUNS)
def test_a_cell_that_repeats_its_references_differs_by_exactly_nothing(values: list[float]) -> None:
    spread = pooled_spread([values, values])
    for order in itertools.islice(itertools.permutations(values), 6):
        assert compare(order, values, spread).difference == 0.0
        assert judge(order, values, MARGIN).verdict is not Verdict.DEVIATES


@given(RUNS, st.integers(-200, 200))
def test_no_cell_is_reproduced_below_an_untrained_encoder(values: list[float], steps: int) -> None:
    """However well a run repeats its references, below the floor of its table it repeats nothing learnt."""
    dense, floor = made_up_run(), made_up_run(UNTRAINED)
    mean = sum(values) / len(values) + steps / 20
    assume(0 <= mean <= 100)
    references = [*made_up_records(dense, values, first_seed=0), *made_up_records(floor, [mean] * 4, first_seed=0)]
    fresh = [*made_up_records(dense, values, first_seed=100), *made_up_records(floor, [mean], first_seed=100)]
    judged = assemble(made_up_spec(dense, floor), fresh, references, made_up_tolerances(delta=8.0), made_up_claims())
    row = next(row for row in judged.rows if row.cell == dense.cell)
    assert row.versus_untrained
    is_below = row.versus_untrained.comparison.difference < 0
    assert not (is_below and row.judgement.verdict is Verdict.REPRODUCED)
    assert row.judgement.verdict is not Verdict.DEVIATES
