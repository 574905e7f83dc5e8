import dataclasses

import pytest

from bench.judging.exact import SAME_WITH_EVERY_SEED, repetitions, violations
from tests.made_up_tables import made_up_record, made_up_run

REFERENCE = made_up_record(made_up_run(seed=0), 50.0)


@pytest.mark.parametrize("fact", SAME_WITH_EVERY_SEED)
def test_no_seed_may_change_a_count(fact: str) -> None:
    fresh = made_up_record(made_up_run(seed=100), 50.0, facts={fact: 7})
    (line,) = violations(fresh, [REFERENCE])
    assert line.startswith(f"{fact}: expected ")
    assert "found 7" in line
    assert REFERENCE.run_id in line


def test_no_seed_may_be_probed_on_other_images() -> None:
    """Its percentages there would be compared with those of other images."""
    stored, same, other = (
        made_up_record(made_up_run(seed=seed), 50.0, facts={"transfer_digits_fingerprint": images})
        for seed, images in ((0, "feed"), (100, "feed"), (100, "f00d"))
    )
    assert violations(same, [stored]) == ()
    (line,) = violations(other, [stored])
    assert line.startswith('transfer_digits_fingerprint: expected "feed"')
    (line,) = violations(made_up_record(made_up_run(seed=100), 50.0), [stored])
    assert "transfer_digits_fingerprint" in line
    assert "found nothing" in line


def test_every_reference_is_compared() -> None:
    other = made_up_record(made_up_run(seed=1), 50.0, facts={"optimizer_steps": 399})
    fresh = made_up_record(made_up_run(seed=100), 50.0)
    (line,) = violations(fresh, [REFERENCE, other])
    assert "optimizer_steps: expected 399" in line


@pytest.mark.parametrize("fact", ["kept_weights", "kept_weights_target"])
def test_counts_are_free_for_published_code_alone(fact: str) -> None:
    """It draws first masks by chance and loses ties; of all others, references that differ are a fault."""

    def broken(method: str) -> tuple[str, ...]:
        runs = [made_up_run(method, density=0.1, seed=seed) for seed in (0, 1, 100)]
        records = [made_up_record(run, 50.0, facts={fact: 7 + place}) for place, run in enumerate(runs)]
        return violations(records[-1], records[:-1])

    assert broken("synchronized_as_published") == ()
    assert broken("synchronized") != ()


def test_a_repetition_of_published_code_shows_its_counts() -> None:
    run = made_up_run("synchronized_as_published", density=0.1)
    stored, again = (made_up_record(run, 50.0, facts={"kept_weights": kept}) for kept in (7, 8))
    assert violations(again, [stored]) != ()


@pytest.mark.parametrize("curve", ["emptied_layers", "ablated_filters"])
def test_what_a_ranking_emptied_is_no_schedule_though_all_references_share_it(curve: str) -> None:
    """Of five seeds on the stand-in one emptied layers: as a fresh run beside the others it would have deviated."""
    stored = [made_up_record(made_up_run(seed=seed), 50.0, facts={"curves": {curve: [0.0, 0.0]}}) for seed in range(4)]
    fresh = made_up_record(made_up_run(seed=100), 50.0, facts={"curves": {curve: [0.0, 2.0]}})
    assert violations(fresh, stored) == ()


def test_fresh_seeds_may_have_masks_and_weights_of_their_own() -> None:
    facts = {"kept_per_layer": {"conv1": 1, "conv2": 999}, "mask_digest": "x", "macs_ratio": 0.3}
    assert violations(made_up_record(made_up_run(seed=100), 9.0, facts=facts), [REFERENCE]) == ()


def test_a_reference_under_another_seed_is_no_fresh_run() -> None:
    fresh = made_up_record(made_up_run(seed=100), 50.0, facts={"weights_digest": REFERENCE.facts["weights_digest"]})
    (line,) = violations(fresh, [REFERENCE])
    assert "weights_digest: seed 100 ended at the weights of seed 0" in line
    assert REFERENCE.run_id in line


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"kept_per_layer": {"conv1": 251, "conv2": 749}}, "kept_per_layer.conv1"),
        ({"macs_ratio": 0.3}, "macs_ratio"),
        ({"density_encoder": 0.3}, "density_encoder"),
        ({"training_macs_ratio": 0.77}, "training_macs_ratio"),
        ({"curves": {"density": [1.0, 0.5], "overlap_iou": [0.1]}}, "curves.density"),
    ],
)
def test_what_all_references_agree_on_no_fresh_seed_may_change(facts: dict[str, object], name: str) -> None:
    """The allocation of a static mask, a schedule, an exchange that never happens: no accuracy would show them."""
    curves = [{"density": [1.0, 0.4], "overlap_iou": [seed]} for seed in range(3)]
    stored = [made_up_record(made_up_run(seed=seed), 50.0, facts={"curves": each}) for seed, each in enumerate(curves)]
    same = made_up_record(made_up_run(seed=100), 50.0, facts={"curves": curves[0]})
    assert violations(same, stored) == ()
    moved = made_up_record(made_up_run(seed=100), 50.0, facts={"curves": curves[0]} | facts)
    assert violations(moved, stored)[0].startswith(f"{name}: expected")
    assert violations(moved, stored[:2]) == ()  # two may agree by chance


def test_counts_per_layer_are_free_where_one_layer_varies() -> None:
    counts = [{"conv1": 1, "conv2": 990 + seed} for seed in range(3)]
    stored = [
        made_up_record(made_up_run(seed=seed), 50.0, facts={"kept_per_layer": each}) for seed, each in enumerate(counts)
    ]
    fresh = made_up_record(made_up_run(seed=100), 50.0, facts={"kept_per_layer": {"conv1": 2, "conv2": 995}})
    assert violations(fresh, stored) == ()


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"mask_digest": "x"}, "mask_digest"),
        ({"weights_digest": "x"}, "weights_digest"),
        ({"loss_digest": "x"}, "loss_digest"),
        ({"training_macs_ratio": 0.999999999}, "training_macs_ratio"),
        ({"kept_per_layer": {"conv1": 251, "conv2": 750}}, "kept_per_layer.conv1"),
    ],
)
def test_a_repetition_must_be_bit_identical(facts: dict[str, object], name: str) -> None:
    (line,) = violations(made_up_record(made_up_run(seed=0), 50.0, facts=facts), [REFERENCE])
    assert line.startswith(f"{name}: expected")


def test_a_repetition_must_have_the_same_metrics() -> None:
    (line,) = violations(made_up_record(made_up_run(seed=0), 50.000001), [REFERENCE])
    assert line.startswith("metrics.linear_top1_percent: expected 50.0")


def test_another_class_of_machine_need_not_give_the_same_bits() -> None:
    elsewhere = made_up_record(made_up_run(seed=0), 51.0, facts={"mask_digest": "x"}, provenance={"env_class": "b"})
    assert violations(elsewhere, [REFERENCE]) == ()
    assert repetitions([elsewhere, REFERENCE], [REFERENCE]) == 1


def test_a_missing_fact_is_a_violation() -> None:
    facts = {name: fact for name, fact in REFERENCE.facts.items() if name not in {"update_steps", "mask_digest"}}
    record = dataclasses.replace(REFERENCE, facts=facts)
    lines = violations(record, [REFERENCE])
    assert [line.partition(":")[0] for line in lines] == ["mask_digest", "update_steps"]
    assert len(violations(record, [record])) == 1  # also where the reference lacks it: not compared is not passed


def test_tuples_and_lists_read_alike() -> None:
    fresh = made_up_record(made_up_run(seed=100), 50.0, facts={"update_steps": (120, 130)})
    assert violations(fresh, [REFERENCE]) == ()


def test_nothing_is_violated_without_references() -> None:
    assert violations(REFERENCE, []) == ()
