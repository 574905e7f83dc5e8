"""The evidence on claims: which runs count, and what is still to run."""

import dataclasses

import pytest

from bench.config.run import UNTRAINED
from bench.judging.book import compared, entries
from bench.judging.evidence import gathered
from bench.judging.sample_size import LEAST
from bench.judging.verdict import Verdict
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

LEFT = made_up_run("synchronized", density=0.1, gap=0.3)
RIGHT = made_up_run("gradual", density=0.1)
OTHER = made_up_run("static_erk", density=0.1)
FLOOR = made_up_run(UNTRAINED)
SPEC = made_up_spec(FLOOR, LEFT, RIGHT, OTHER, profile="cpu")
CLAIMS = made_up_claims(made_up_claim())
STORED = [0.5, -0.5, 0.0, 0.25]


def _records(seeds: int, first: int, gain: float = 3.0) -> list[Record]:
    values = [STORED[index % 4] for index in range(seeds)]
    return [
        record
        for run, mean in ((LEFT, 50 + gain), (RIGHT, 50), (OTHER, 49), (FLOOR, 30))
        for record in made_up_records(run, [mean + value for value in values], first_seed=first)
    ]


def test_references_and_own_runs_count_together_once_a_seed() -> None:
    again = made_up_record(dataclasses.replace(LEFT, seed=1), 99.0)
    stranger = made_up_record(made_up_run("set", density=0.1, seed=100), 99.0)
    evidence = gathered(SPEC, _records(4, 0), [*_records(2, 100), again, stranger])
    values = evidence.values(made_up_tolerances())[LINEAR]
    assert set(values) == {run.cell for run in (FLOOR, LEFT, RIGHT, OTHER)}
    assert set(values[LEFT.cell]) == {0, 1, 2, 3, 100, 101}
    assert values[LEFT.cell][1] == 52.5
    (entry,) = entries(evidence, CLAIMS, made_up_tolerances())
    assert entry.judged.judgement.verdict is Verdict.REPRODUCED
    assert (entry.judged.seeds, entry.seeds, entry.stored) == (6, 6, 4)


def test_runs_that_missed_their_budget_or_leak_bear_no_claim() -> None:
    facts: dict[str, object] = {"reduction_asked": 2.0, "reduction": 2.0, "reduction_target": 1.0}
    bad_ones: list[dict[str, object]] = [{"gates_leak": True}, {"reduction": 1.8}]
    for own in bad_ones:
        bad = made_up_record(dataclasses.replace(LEFT, seed=9), 99.0, facts=facts | own)
        assert 9 not in gathered(SPEC, [bad], []).values(made_up_tolerances())[LINEAR][LEFT.cell]
    good = made_up_record(dataclasses.replace(LEFT, seed=9), 99.0, facts=facts | {"gates_leak": False})
    assert 9 in gathered(SPEC, [good], []).values(made_up_tolerances())[LINEAR][LEFT.cell]


def test_a_reference_under_a_fresh_name_is_no_new_evidence() -> None:
    copied = made_up_record(dataclasses.replace(LEFT, seed=100), 53.0, facts={"weights_digest": "weights-2"})
    with pytest.raises(RecordError, match=r"-s2-.* and .*-s100-.* have the same weights"):
        gathered(SPEC, _records(4, 0), [copied])


def test_runs_of_other_facts_than_their_references_do_not_count_and_are_named() -> None:
    changed: list[dict[str, object]] = [{"data_fingerprint": "dead"}, {"update_steps": [120]}, {"dense_macs": 1}]
    for facts in changed:
        wrong = made_up_record(dataclasses.replace(LEFT, seed=100), 99.0, facts=facts)
        evidence = gathered(SPEC, _records(4, 0), [wrong])
        assert set(evidence.records[LEFT.cell]) == {0, 1, 2, 3}
        (line,) = evidence.left_out
        assert line.startswith(f"{wrong.run_id}: {next(iter(facts))}: expected ")


def test_a_repetition_that_contradicts_its_reference_is_named() -> None:
    """Found by a review: the reference counted, and nobody heard of the other one."""
    again = made_up_record(dataclasses.replace(LEFT, seed=1), 99.0)
    evidence = gathered(SPEC, _records(4, 0), [again])
    assert evidence.records[LEFT.cell][1].metrics[LINEAR] == 52.5
    (line,) = evidence.left_out
    assert line.startswith(f"{again.run_id}: ")


def test_runs_that_contradict_one_another_bear_no_claim_together_though_there_are_no_references() -> None:
    """Found by a review: where nothing was stored, runs of any counts, steps and images were averaged."""
    sound, odd = (
        [made_up_record(dataclasses.replace(LEFT, seed=seed), 50.0, facts=facts) for seed in (first, first + 2)]
        for first, facts in ((100, {}), (101, {"optimizer_steps": 99_999}))
    )
    evidence = gathered(SPEC, [], [*odd, *sound])
    assert set(evidence.records[LEFT.cell]) == {100, 102}
    assert [line.split(": ")[:2] for line in evidence.left_out] == [[each.run_id, "optimizer_steps"] for each in odd]


def test_runs_on_different_images_of_one_name_are_never_compared() -> None:
    left = made_up_record(dataclasses.replace(LEFT, seed=100), 53.0)
    right = made_up_record(dataclasses.replace(RIGHT, seed=100), 50.0, facts={"data_fingerprint": "dead"})
    with pytest.raises(RecordError, match="trained on different images, both called cifar10"):
        gathered(SPEC, [], [left, right])


def test_seeds_count_that_bear_the_claim_and_no_others() -> None:
    facts: dict[str, object] = {"reduction_asked": 2.0, "reduction_target": 1.0}
    records = [record for record in _records(8, 0) if record.run.cell != LEFT.cell]
    for seed in range(8):
        own = {**facts, "reduction": 2.0 if seed < 3 else 1.5}
        records.append(made_up_record(dataclasses.replace(LEFT, seed=seed), 53.0 + STORED[seed % 4], facts=own))
    (entry,) = entries(gathered(SPEC, records, []), CLAIMS, made_up_tolerances())
    assert (entry.judged.seeds, entry.seeds, entry.stored, entry.missing) == (3, 3, 3, LEAST - 3)


def test_how_many_states_of_the_code_made_the_runs_is_known() -> None:
    mixed = [
        dataclasses.replace(record, provenance={**record.provenance, "source_digest": f"code-{record.run.seed // 4}"})
        for record in _records(8, 0)
    ]
    for records, states in ((_records(8, 0), 1), (mixed, 2)):
        (entry,) = entries(gathered(SPEC, records, []), CLAIMS, made_up_tolerances())
        assert entry.states == states


def test_a_claim_needs_its_cells_and_the_floor_below_them() -> None:
    assert compared(made_up_claim(), SPEC.cells) == (FLOOR, LEFT, RIGHT)
    assert compared(made_up_claim(), (FLOOR, LEFT)) == ()


def test_the_way_on_is_a_command_for_the_seeds_that_are_missing() -> None:
    (entry,) = entries(gathered(SPEC, _records(4, 0), []), CLAIMS, made_up_tolerances())
    assert (entry.wanted, entry.missing) == (LEAST, 4)
    assert entry.way_on == "python -m bench table cifar10 --profile cpu --data cifar10 --claim better --seeds 4"
    (entry,) = entries(gathered(SPEC, [], []), CLAIMS, made_up_tolerances())
    assert (entry.seeds, entry.missing, entry.judged.judgement.verdict) == (0, LEAST, Verdict.NOT_JUDGED)
    assert entry.way_on.endswith("--claim better --seeds 8")


def test_an_open_claim_with_all_its_seeds_names_those_that_would_settle_it() -> None:
    (entry,) = entries(gathered(SPEC, _records(8, 0, gain=0.1), []), CLAIMS, made_up_tolerances())
    assert entry.judged.judgement.verdict is Verdict.INCONCLUSIVE
    assert entry.missing == 0
    assert entry.judged.settled_by
    assert entry.way_on.endswith(f"--seeds {entry.judged.settled_by - 8}")


def test_a_claim_whose_verdict_stands_is_repeated_with_all_of_its_seeds() -> None:
    (entry,) = entries(gathered(SPEC, _records(8, 0, gain=-9.0), []), CLAIMS, made_up_tolerances())
    assert (entry.judged.judgement.verdict, entry.missing) == (Verdict.DEVIATES, 0)
    assert entry.way_on.endswith("--claim better --seeds 8")


def test_a_profile_that_cannot_bear_a_claim_has_no_way_on() -> None:
    spec = dataclasses.replace(SPEC, profile="smoke")
    (entry,) = entries(gathered(spec, _records(8, 0), []), CLAIMS, made_up_tolerances())
    assert (entry.wanted, entry.way_on, entry.runs) == (0, "", ())
