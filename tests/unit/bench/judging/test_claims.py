from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bench.config.cell import parse_cell
from bench.judging.claim_judge import JudgedClaim, judge_claims
from bench.judging.claims import load_claims
from bench.judging.settings import SettingsError
from bench.judging.verdict import Verdict
from bench.tables import TABLES
from tests.made_up_tables import LINEAR, made_up_claim, made_up_claims

LEFT = "simclr/synchronized/element/d0.10+g0.30"
RIGHT = "simclr/gradual/element/d0.10"
NOISE = (-0.5, 0.0, 0.5)  # sd .5 in each cell


def _cell(mean: float, seeds: Sequence[int] = (100, 101, 102)) -> dict[int, float]:
    return {seed: mean + noise for seed, noise in zip(seeds, NOISE, strict=False)}


def _judged(cells: Mapping[str, Mapping[int, float]], profile: str = "cpu", **claim: float) -> JudgedClaim:
    (judged,) = judge_claims(made_up_claims(made_up_claim(**claim)), profile, {LINEAR: cells}, list(cells))  # type: ignore[arg-type]
    return judged


@pytest.mark.parametrize(
    ("gain", "least_gain", "expected"),
    [
        # error = .5 sqrt(2/3) = .4082; t(.95; 4) = 2.1318; half width .8703
        (0.88, 0.0, Verdict.REPRODUCED),
        (0.86, 0.0, Verdict.INCONCLUSIVE),
        (-0.86, 0.0, Verdict.INCONCLUSIVE),
        (-0.88, 0.0, Verdict.DEVIATES),
        (-0.10, -1.0, Verdict.REPRODUCED),
        (0.88, 2.0, Verdict.DEVIATES),
    ],
)
def test_a_claim_holds_deviates_or_stays_open(gain: float, least_gain: float, expected: Verdict) -> None:
    judged = _judged({LEFT: _cell(50 + gain), RIGHT: _cell(50)}, least_gain_points=least_gain)
    assert judged.judgement.verdict is expected
    assert judged.pairs[0].comparison.difference == pytest.approx(gain)


def test_a_planted_loss_of_three_sd_deviates() -> None:
    """The positive control of this gate."""
    assert _judged({LEFT: _cell(50 - 3 * 0.5), RIGHT: _cell(50)}).judgement.verdict is Verdict.DEVIATES


def test_differences_are_paired_by_seed() -> None:
    cells = {LEFT: {1: 60.0, 2: 70.0, 9: 0.0}, RIGHT: {2: 60.0, 1: 50.0, 8: 99.0}}
    (pair,) = _judged(cells).pairs
    assert pair.comparison.difference == pytest.approx(10.0)
    assert pair.comparison.new_runs == 2


def test_a_claim_needs_every_pair_of_a_framework() -> None:
    """Better than one opponent and not surely better than the other is not better."""
    claim = made_up_claim(right=["*/gradual/*", "*/static_erk/*"])
    other = "simclr/static_erk/element/d0.10"
    cells = {LEFT: _cell(52), RIGHT: _cell(50), other: _cell(51.9)}
    (judged,) = judge_claims(made_up_claims(claim), "cpu", {LINEAR: cells}, list(cells))
    assert len(judged.pairs) == 2
    assert judged.judgement.verdict is Verdict.INCONCLUSIVE
    assert other in judged.judgement.reason
    (judged,) = judge_claims(made_up_claims(claim), "cpu", {LINEAR: {LEFT: _cell(52), RIGHT: _cell(50)}}, list(cells))
    assert judged.judgement.verdict is Verdict.NOT_JUDGED


def test_frameworks_are_never_mixed() -> None:
    assert _judged({LEFT: _cell(52), RIGHT.replace("simclr", "byol"): _cell(50)}).pairs == ()


def test_a_claim_about_all_frameworks_is_not_judged_by_one() -> None:
    cells = {LEFT: _cell(60), RIGHT: _cell(50)}
    whole = [*cells, *(cell.replace("simclr", "byol") for cell in cells)]
    (judged,) = judge_claims(made_up_claims(made_up_claim()), "cpu", {LINEAR: cells}, whole)
    assert judged.judgement.verdict is Verdict.NOT_JUDGED
    assert "in every framework of the table" in judged.judgement.reason


def test_frameworks_have_spreads_of_their_own() -> None:
    """A gain of 3 is sure where runs spread by half a point, whatever another framework's spread is, and not there."""
    quiet, wild = {LEFT: _cell(53), RIGHT: _cell(50)}, {}
    for cell, values in quiet.items():
        wild[cell.replace("simclr", "byol")] = {seed: 50 + 10 * (value - 50) for seed, value in values.items()}
    cells = quiet | wild
    (judged,) = judge_claims(made_up_claims(made_up_claim()), "cpu", {LINEAR: cells}, list(cells))
    spreads = {pair.left.partition("/")[0]: pair.comparison.spread.sd for pair in judged.pairs}
    assert spreads["byol"] == pytest.approx(10 * spreads["simclr"])


def test_a_profile_that_cannot_bear_the_claim_says_why() -> None:
    judgement = _judged({LEFT: _cell(60), RIGHT: _cell(50)}, profile="smoke").judgement
    assert (judgement.verdict, judgement.reason) == (Verdict.NOT_JUDGED, "too small")


LOSSES = {
    "simclr/dense/-/d1.00": _cell(60),
    "simclr/gradual/element/d0.10": _cell(55),
    "supervised/dense/-/d1.00": _cell(80),
    "supervised/gradual/element/d0.10": _cell(78),
}


def _losses(cells: Mapping[str, Mapping[int, float]], names: Sequence[str] = ()) -> JudgedClaim:
    claim = made_up_claim(left="*/dense/*", right=["*/gradual/*"], beside="supervised")
    (judged,) = judge_claims(made_up_claims(claim), "cpu", {LINEAR: cells}, list(names or cells))
    return judged


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # Beyond the supervised loss of 2. error = .5 sqrt(2/3 + 2/3) = .5774; t(.95; 4) = 2.1318; half width 1.2308
        (3.24, Verdict.REPRODUCED),
        (3.22, Verdict.INCONCLUSIVE),
        (0.78, Verdict.INCONCLUSIVE),
        (0.76, Verdict.DEVIATES),
    ],
)
def test_what_a_framework_loses_is_judged_against_what_another_one_loses(loss: float, expected: Verdict) -> None:
    judged = _losses(LOSSES | {"simclr/gradual/element/d0.10": _cell(60 - loss)})
    (pair,) = judged.pairs
    assert (pair.left, pair.beside) == (next(iter(LOSSES)), tuple(LOSSES)[2:])
    assert pair.comparison.difference == pytest.approx(loss - 2.0)
    assert judged.judgement.verdict is expected
    if expected is not Verdict.REPRODUCED:
        assert "beyond the gain in supervised" in judged.judgement.reason
    assert judged.power
    assert judged.power.false_reproduced == 0.05


def test_losses_are_paired_by_the_seeds_that_all_four_cells_have_and_half_of_them_are_not_judged() -> None:
    seeds = LOSSES | {"supervised/dense/-/d1.00": {100: 80.0, 102: 81.0, 999: 0.0}}
    (pair,) = _losses(seeds).pairs
    assert pair.comparison.new_runs == 2
    assert pair.comparison.difference == pytest.approx(5.0 - ((80 - 77.5) + (81 - 78.5)) / 2)
    missing = "supervised/gradual/element/d0.10"
    without = {cell: runs for cell, runs in LOSSES.items() if cell != missing}
    assert _losses(without).judgement.verdict is Verdict.NOT_JUDGED
    assert _losses(without, [*LOSSES]).judgement.verdict is Verdict.NOT_JUDGED


def test_without_shared_seeds_nothing_is_judged() -> None:
    judged = _judged({LEFT: _cell(60), RIGHT: _cell(50, seeds=(1, 2, 3))})
    assert judged.judgement.verdict is Verdict.NOT_JUDGED
    assert _judged({LEFT: {1: 60.0}, RIGHT: {1: 50.0}}).judgement.verdict is Verdict.NOT_JUDGED
    assert _judged({}).judgement.verdict is Verdict.NOT_JUDGED


def test_one_seed_is_enough_where_the_spread_is_known_from_other_cells() -> None:
    cells = {LEFT: {100: 60.0}, RIGHT: {100: 50.0}, "simclr/dense/-/d1.00": _cell(70)}
    assert _judged(cells).judgement.verdict is Verdict.REPRODUCED


def test_claims_that_are_not_primary_are_corrected_by_holm() -> None:
    """A gain just good enough alone is not among two; a primary claim stays uncorrected."""
    cells = {LEFT: _cell(50.9), RIGHT: _cell(50)}
    first, second = (made_up_claim(name, is_primary=False) for name in ("first", "second"))
    main = made_up_claim("main")
    open_, held = Verdict.INCONCLUSIVE, Verdict.REPRODUCED
    for claims, expected in (([main, first], [held, held]), ([main, first, second], [held, open_, open_])):
        judged = judge_claims(made_up_claims(*claims), "cpu", {LINEAR: cells}, list(cells))
        assert [item.judgement.verdict for item in judged] == expected


def test_a_verdict_does_not_hang_on_which_of_its_sisters_have_runs() -> None:
    """Holm's family is what was declared, not what happens to have been run."""
    set_ = "simclr/set/element/d0.10"
    first = made_up_claim("first", is_primary=False)
    sister = made_up_claim("sister", is_primary=False, right=("*/set/element/d0.10",))
    for gain_over_sister in (None, 0.0):
        cells = {LEFT: _cell(50.9), RIGHT: _cell(50)}
        if gain_over_sister is not None:
            cells[set_] = _cell(50.9 - gain_over_sister)
        claims = made_up_claims(made_up_claim("main"), first, sister)
        _, judged, _ = judge_claims(claims, "cpu", {LINEAR: cells}, [LEFT, RIGHT, set_])
        assert judged.judgement.verdict is Verdict.INCONCLUSIVE


def test_an_open_claim_names_the_seeds_that_would_settle_it() -> None:
    judgement = _judged({LEFT: _cell(50.86), RIGHT: _cell(50)}).judgement
    assert "about n = 4 seeds would settle it" in judgement.reason


UNTRAINED = "simclr/untrained/-/d1.00"


def test_nothing_is_claimed_of_cells_that_learnt_nothing() -> None:
    """A gain over an opponent that ends below an untrained encoder says nothing; a loss against one does."""
    gain = {LEFT: _cell(52), RIGHT: _cell(50)}
    floors = {49.0: Verdict.REPRODUCED, 51.0: Verdict.INCONCLUSIVE, 53.0: Verdict.INCONCLUSIVE}
    for floor, expected in floors.items():
        judgement = _judged(gain | {UNTRAINED: _cell(floor)}).judgement
        assert judgement.verdict is expected
        assert (RIGHT in judgement.reason) is (floor > 50)
        assert (f"{LEFT}" in judgement.reason) is (floor > 52)
    loss = {LEFT: _cell(50), RIGHT: _cell(52), UNTRAINED: _cell(53)}
    assert _judged(loss).judgement.verdict is Verdict.DEVIATES


def test_an_open_claim_is_settled_by_the_pair_that_is_hardest_not_by_the_smallest_gain() -> None:
    """A gain of 3 of wild runs needs more seeds than one of 2 of quiet ones."""
    quiet = {LEFT: _cell(50.9), RIGHT: _cell(50)}
    wild = {
        cell.replace("simclr", "byol"): {seed: 50 + 10 * (value - mean) + shift for seed, value in values.items()}
        for (cell, values), mean, shift in zip(quiet.items(), (50.9, 50.0), (3.0, 0.0), strict=True)
    }
    (alone,) = judge_claims(made_up_claims(made_up_claim()), "cpu", {LINEAR: wild}, list(wild))
    (both,) = judge_claims(made_up_claims(made_up_claim()), "cpu", {LINEAR: quiet | wild}, [*quiet, *wild])
    assert both.judgement.verdict is Verdict.INCONCLUSIVE
    assert alone.settled_by
    assert both.settled_by == alone.settled_by > 10


def test_exactly_one_claim_per_work_is_primary() -> None:
    first, second = made_up_claim("first"), made_up_claim("second")
    with pytest.raises(SettingsError, match="A Work: 2 primary claims"):
        made_up_claims(first, second)
    with pytest.raises(SettingsError, match="A Work: 0 primary claims"):
        made_up_claims(made_up_claim(is_primary=False))
    with pytest.raises(SettingsError, match="claim first appears twice"):
        made_up_claims(first, made_up_claim("first", work="B Work"))


def test_every_profile_is_judged_or_excused() -> None:
    with pytest.raises(SettingsError, match="must name each of smoke, cpu, gpu, paper once"):
        made_up_claim(profiles=["cpu", "cpu"])


@pytest.mark.parametrize("name", TABLES)
def test_the_stored_claims_are_readable_and_of_works_that_the_table_is_about(name: str) -> None:
    claims = load_claims(name)
    pruning, gating = "Synchronized Contrastive Pruning", "Contrastive Dual Gating"
    starts = "Studying the impact of magnitude pruning on contrastive learning methods"
    works = {"cifar10": {pruning}, "cifar100": {pruning}, "structured": {pruning}}
    unification = "Unifying Synergies between Self-supervised Learning and Dynamic Computation"
    tickets = "The Lottery Tickets Hypothesis for Supervised and Self-supervised Pre-training in Computer Vision Models"
    works |= {"asymmetry": {pruning, starts}, "gating": {gating, unification}, "transfer": {tickets}}
    works["nm"] = {pruning, "SR-STE"}
    works["imagenet100"] = {pruning, gating}
    assert {claim.work for claim in claims.claims} == works[name]
    for profile in TABLES[name].profiles:
        judged = judge_claims(claims, profile, {}, TABLES[name](profile, "cifar10").names)
        assert {item.judgement.verdict for item in judged} == {Verdict.NOT_JUDGED}


@pytest.mark.parametrize("name", TABLES)
def test_the_main_claim_finds_its_cells_in_the_table(name: str) -> None:
    (main, *_) = load_claims(name).claims
    for profile in main.profiles:
        names = TABLES[name](profile, "cifar10").names
        frameworks = {parse_cell(left).framework for left, _ in main.pairs(names)}
        assert frameworks == {parse_cell(cell).framework for cell in names} - {"supervised"}


def test_a_claim_has_one_home() -> None:
    names = [claim.name for name in TABLES for claim in load_claims(name).claims]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", TABLES)
def test_every_claim_finds_its_cells(name: str) -> None:
    for claim in load_claims(name).claims:
        assert claim.profiles
        for profile in claim.profiles:
            assert claim.pairs(TABLES[name](profile, "cifar10").names)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("is_primary = true\n", "is_primary = 1\n", "must be true or false"),
        ("alpha = 0.05", "alpha = 5", r"alpha is 5; it must lie in \(0, 0\.5\)"),
        ("alpha = 0.05", "alpha = nan", "alpha is nan; it must be a number, and finite"),
        ("least_gain_points = 0.0", "least_gain_points = nan", "must be a number, and finite"),
        ("least_gain_points = 0.0", "least_gain_points = -inf", "must be a number, and finite"),
        ('metric = "linear_top1_percent"', 'metric = "linear_top5_percent"', "Did you mean 'linear_top1_percent'"),
        ('"synccp-asymmetry-helps"', '"synccp-superior"', r"cifar10\.toml: claim synccp-superior appears twice"),
        ('left = "*/synchronized/', 'left = "*/synchronised/', "method 'synchronised' is unknown. Did you mean"),
        ('left = "*/synchronized/', 'left = "simclear/synchronized/', "framework 'simclear' is unknown. Did you mean"),
        ('left = "*/synchronized/element', 'left = "*/synchronized/elements', "granularity 'elements' is unknown"),
        (
            '/d0.10+g*"',
            '/d0.11+g*"',
            r"d0\.11\+g\*' matches no cell of table cifar10 at profile cpu",
        ),
        ('"*/set/element/d0.10"', '"*/sett/element/d0.10"', "method 'sett' is unknown. Did you mean 'set'"),
        ('"*/set/element/d0.10"', '"*/set/d0.10"', "A name reads FRAMEWORK/METHOD/GRANULARITY/POINT"),
        ('"*/set/element/d0.10"', '"simclr/set/element/d0.10"', r"no cell of .* half a claim is never judged"),
        ('right = ["*/synchronized/element/d0.10"]', "right = []", "there is no opponent"),
        ('profiles = ["cpu", "paper"]', 'profiles = ["cpu", "papers"]', "each of smoke, cpu, gpu, paper once"),
        ('name = "synccp-superior"\n', 'name = "synccp-superior"\nname = "x"\n', "not a readable TOML"),
        ("least_gain_points = 0.0\n", "", "least_gain_points is missing"),
        ("least_gain_points = 0.0\n", "least_gain_points = 0.0\nmargin = 1\n", "unknown entries margin"),
        ('source_kind = "abstract"', 'source_kind = "hearsay"', "must be one of abstract, code, summary, talk"),
        ('profiles = ["cpu", "paper"]', 'profiles = ["cpu", "paper", "smoke"]', "each of smoke, cpu, gpu, paper once"),
        ("least_gain_points = 0.0\n", 'least_gain_points = 0.0\nbeside = "supervized"\n', "Did you mean 'supervised'"),
        ("least_gain_points = 0.0\n", 'least_gain_points = 0.0\nmatch = "macs"\n', "claim synccp-superior is ours"),
        ('source_kind = "abstract"', 'source_kind = "ours"', "claim synccp-superior is ours"),
        ("[[claim]]", "[[claim]", "not a readable TOML"),
    ],
)
def test_a_slip_in_a_claim_is_an_error(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (Path(__file__).parents[4] / "results" / "claims" / "cifar10.toml").read_text()
    assert old in text
    (tmp_path / "cifar10.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(SettingsError, match=message):
        load_claims("cifar10", tmp_path)


def test_a_claim_that_no_profile_can_bear_speaks_about_cells_of_some_table(tmp_path: Path) -> None:
    text = (Path(__file__).parents[4] / "results" / "claims" / "gating.toml").read_text()
    before, last = text.rsplit("[[claim]]", 1)
    last = last.replace('profiles = ["cpu", "paper"]', "profiles = []").replace("dual_gate/", "dual_gat/")
    (tmp_path / "gating.toml").write_text(f'{before}[[claim]]{last}cpu = "too small"\npaper = "too small"\n')
    with pytest.raises(SettingsError, match=r"trainability: '\*/dual_gat/element/t2\.25' matches no cell of any table"):
        load_claims("gating", tmp_path)
