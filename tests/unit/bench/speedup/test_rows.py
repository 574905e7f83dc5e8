"""Random masks are of the kind they say; claims about machines are judged by the model, or say why not."""

from pathlib import Path

import numpy as np
import pytest

from bench.judging.settings import SettingsError
from bench.judging.verdict import Verdict
from bench.speedup import drawn, expected, ratios, table
from bench.speedup.stored import path_of
from bench.speedup.timeline import Course, Moment, course_of
from hardware import comparison, presets
from hardware.network import workload
from hardware.sparsity.weights import Mask
from tests.unit.hardware.networks import conv

LAYER = conv("layer", 64, 8, 128, 3, 1, 1)
BY_NAME = {kind.name: kind for kind in drawn.KINDS}


def draw(kind: drawn.Drawer, density: float) -> drawn.Bools:
    return kind(np.random.default_rng(3), LAYER, density)


@pytest.mark.parametrize("kind", drawn.KINDS, ids=lambda kind: kind.name)
def test_a_draw_has_its_density(kind: drawn.Kind) -> None:
    mask = draw(kind.draw, kind.final)
    assert mask.shape == LAYER.weight_shape
    assert mask.mean() == pytest.approx(kind.final, abs=0.06)


def test_a_draw_has_its_shape() -> None:
    blocks = draw(drawn.block, 0.3).reshape(8, 16, 4, 16, 3, 3)
    assert np.array_equal(blocks.any(axis=(1, 3)), blocks.all(axis=(1, 3)))
    filters = draw(drawn.filters, 0.25)
    assert np.count_nonzero(filters.all(axis=(1, 2, 3))) == np.count_nonzero(filters.any(axis=(1, 2, 3))) == 32
    groups = draw(drawn.two_of_four, 0.5).reshape(128, 16, 4, 3, 3).sum(axis=2)
    assert (groups == 2).all()
    mixed = draw(drawn.two_of_four, 0.75).reshape(128, 16, 4, 3, 3).sum(axis=2)
    assert set(np.unique(mixed)) == {2, 4}


def test_every_row_of_the_issue_is_there() -> None:
    """And in both forms of the second branch; dense costs what dense costs."""
    courses = list(drawn.courses())
    kinds = {course.kind.split(" d")[0].split(" t")[0] for course in courses}
    assert kinds == {"dense", "element", "2:4 strict", "2:4 as annealed", "block 16x16", "filter", "gated"}
    assert {course.branches for course in courses} == {"shared encoder", "EMA target"}
    assert len(courses) == 2 * (len(drawn.KINDS) + 2)
    assert all(sum(moment.share for moment in course.moments) == pytest.approx(1.0) for course in courses)
    assert all("drawn" in course.source or "rate" in course.source or course.kind == "dense" for course in courses)
    for final, average in (course.rows(presets.machine("chip28nm")) for course in courses[:2]):
        assert final.speed_up == average.speed_up == 1.0
        assert final.macs_reduction == 1.0


def test_drawn_rows_pay_for_their_mask_updates() -> None:
    """One each 1/40 of the run while the density falls, none before and after; static masks none at all."""
    for item in drawn.courses():
        has_ramp = "ramp" in item.source
        assert [bool(moment.period) for moment in item.moments] == (
            [False] + [has_ramp] * 5 + [False] if len(item.moments) > 1 else [False]
        )


def test_layers_of_one_shape_share_a_draw() -> None:
    network = workload.read(path_of("smoke-simclr"))
    states = drawn.masks(BY_NAME["element d0.50"], network, 0.5, 0)
    assert set(states) == {layer.name for layer in network.layers if comparison.is_prunable(layer)}
    assert all(isinstance(state.weights, Mask) for state in states.values())


def made_up() -> Course:
    network = workload.read(path_of("smoke-byol"))
    states = comparison.uniform(network, 0.25)
    moment = Moment(0.0, states, states)
    moments = course_of(Moment(0.0, {}, {}), [moment] * 5, moment, 0.3, 0.68)
    return Course(kind="made up", source="a test", workload=network, regrows=False, final=moment, moments=moments)


def test_the_average_of_a_run_is_weighted_by_time() -> None:
    """Dense for 30 % of the run, sparse for the rest."""
    final, average = made_up().rows(presets.machine("element_core"))
    assert average.sparse.cycles == pytest.approx(0.3 * final.dense.cycles + 0.7 * final.sparse.cycles)


def claim(**changes: object) -> ratios.RatioClaim:
    entries: dict[str, object] = {
        "name": "faster",
        "work": "a work",
        "source": "a source",
        "statement": "it is faster",
        "assumption": "all of it",
        "left": "*/block/chip28nm",
        "right": "*/dense/chip28nm",
        "least_ratio": 1.5,
        "equal_within": 0.01,
        "not_judged": "",
    }
    return ratios.RatioClaim(**(entries | changes))  # type: ignore[arg-type]


EXPECTED = {
    "a/block/chip28nm": {8.0: 2.0, 64.0: 2.2},
    "b/block/chip28nm": {8.0: 1.4, 64.0: 1.6},
    "a/dense/chip28nm": {8.0: 1.0, 64.0: 1.0},
    "b/dense/chip28nm": {8.0: 1.0, 64.0: 1.0},
}


def test_claims_hold_for_every_pair_and_memory_or_not() -> None:
    (judged,) = ratios.judge([claim()], EXPECTED)
    assert judged.judgement.verdict is Verdict.DEVIATES
    assert judged.found == 1.4
    assert "between 1.400 and 2.200 over 4 pairs and 8 to 64 B of DRAM per cycle" in judged.judgement.reason
    (judged,) = ratios.judge([claim(least_ratio=1.3)], EXPECTED)
    assert judged.judgement.verdict is Verdict.REPRODUCED
    (judged,) = ratios.judge([claim(left="*/filter/*")], EXPECTED)
    assert judged.judgement.verdict is Verdict.NOT_JUDGED
    nothing = {"left": "", "right": "", "least_ratio": 0.0, "equal_within": 0.0}
    (judged,) = ratios.judge([claim(**nothing, not_judged="no such chip.")], EXPECTED)
    assert judged.sentence == "NOT_JUDGED: no such chip. Ours: all of it"


def test_what_is_equal_is_called_equal_and_not_better() -> None:
    near = {"a/block/chip28nm": {8.0: 1.004, 64.0: 0.993}, "a/dense/chip28nm": {8.0: 1.0, 64.0: 1.0}}
    (judged,) = ratios.judge([claim(least_ratio=1.0)], near)
    assert judged.judgement.verdict is Verdict.DEVIATES
    assert judged.judgement.reason.startswith("Equal within 1%: the expected ratio lies between 0.993 and 1.004")
    barely = {"a/block/chip28nm": {8.0: 1.009}, "a/dense/chip28nm": {8.0: 1.0}}
    (judged,) = ratios.judge([claim(least_ratio=1.0)], barely)
    assert judged.judgement.verdict is Verdict.DEVIATES


def test_blocks_and_single_weights_are_equally_fast_in_expectation_and_claims_know_it() -> None:
    verdicts = {item.claim.name: item.judgement for item in ratios.judge(ratios.load(), expected.speed_ups())}
    assert verdicts["structured-beats-element-wise"].reason.startswith("Equal within 1%")
    assert verdicts["structured-sparsity-speeds-training-up"].verdict is Verdict.REPRODUCED


def test_a_claim_is_judged_or_says_why_not() -> None:
    with pytest.raises(SettingsError, match="give left, right, least_ratio, equal_within, or not_judged"):
        claim(not_judged="no such chip.")


def test_the_stored_claims_are_of_the_chips_that_are_known() -> None:
    names = [item.name for item in ratios.load()]
    assert {"chip-4.7x-latency", "chip-7.3x-flops", "chip-16.4-tflops-per-watt"} <= set(names)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("least_ratio = 1.0", "least_ratio = nan", r"claim\[0\]\.least_ratio is nan; it must be a number, and finite"),
        ("least_ratio = 1.0", "least_ratio = -1.0", "least_ratio is -1.0; it must be above 0"),
        ("equal_within = 0.01\n", "", "equal_within is 0.0; it must be above 0"),
        ("equal_within = 0.01", "equal_within = inf", "equal_within is inf"),
        ('left = "*/block 16x16 d*/chip28nm"\n', "", "left is missing"),
        ('16x16 d*/chip28nm"', '16x16 d*/chip27nm"', r"matches no row\. The rows are shared encoder/dense/chip28nm"),
        ('name = "chip-7.3x-flops"', 'name = "chip-4.7x-latency"', r"claim chip-4\.7x-latency appears twice"),
        ("least_ratio = 1.0", "least_ratio = 1.0\ncolour = 1", "unknown entries colour"),
        ("least_ratio = 1.0", "least_ratio = 1.0\nleast_ratio = 2.0", "not a readable TOML"),
        ("least_ratio = 1.0", 'least_ratio = 1.0\nnot_judged = "as it is"', "or not_judged with its reason"),
    ],
)
def test_a_slip_in_a_claim_is_an_error(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = ratios.FILE.read_text()
    assert old in text
    path = tmp_path / "claims.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SettingsError, match=message):
        ratios.load(path)


def test_the_page_says_what_is_published_and_what_is_ours() -> None:
    lines = table.lines([made_up()], ["chip28nm"])
    page = table.page(lines, ratios.judge(ratios.load(), EXPECTED), ["a note"])
    heading = dict(page.heading)["chip28nm"]
    assert "Published: FP8, 28 nm" in heading
    assert "Assumed (ours): 32 x 32" in heading
    assert page.results.rows[0][:3] == ("EMA target", "made up", "chip28nm")
    assert len(page.results.rows[0]) == len(page.results.columns)
    assert page.notes[0].startswith("Not modelled")


def test_machines_with_other_memories_are_pointed_out() -> None:
    both = table.lines([made_up()], ["chip28nm", "nm_core"])
    assert "The memories differ: chip28nm 8 B of DRAM per cycle, nm_core 64" in table.page(both, [], []).notes[1]
    alike = table.lines([made_up()], ["chip28nm", "element_core"])
    assert not any("memories differ" in note for note in table.page(alike, [], []).notes)
