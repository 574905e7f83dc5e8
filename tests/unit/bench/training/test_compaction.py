"""From which step on a run is trained compactly, and which of its steps are timed."""

import dataclasses

import pytest

from bench.config import overrides
from bench.config.overrides import COMPACT
from bench.training import parts
from bench.training.compaction import Compaction, Paces, median_paces, start_of
from tests.tiny import tiny_run


def test_steps_are_timed_from_the_third_on_each_kind_apart_and_only_the_latest() -> None:
    pair, paces, none = parts.framework_for(tiny_run("simclr", "dense")).branches, Paces(), Paces()
    for step in range(300):
        Compaction(pair, 5).timed(step, float(step), paces)
        Compaction(pair, None).timed(step, float(step), none)
    assert paces == {"masked": [2.0, 3.0, 4.0], "compact": [float(step) for step in range(300 - 256, 300)]}
    assert none == {}


def test_a_record_has_both_medians_in_milliseconds_or_none() -> None:
    assert median_paces({}) == median_paces({"masked": [1.0]}) == {}
    paces = {"masked": [0.001, 0.0045678, 2.0], "compact": [0.0015]}
    expected = {"masked_step_cpu_milliseconds": 4.568, "compact_step_cpu_milliseconds": 1.5}
    assert median_paces(paces) == expected


@pytest.mark.parametrize(("total", "start"), [(8, 2), (20, 5), (39, 9), (400, 10)])
def test_masks_that_never_change_compute_as_masks_for_ten_steps_or_a_quarter_of_the_run(total: int, start: int) -> None:
    run = tiny_run("simclr", "static_uniform", granularity="filter", density=0.25)
    method = parts.method_for(run)
    assert start_of(run, method, total) is None
    assert start_of(overrides.changed(run, {COMPACT: "true"}), method, total) == start


def test_a_ramp_that_ends_later_starts_it() -> None:
    run = overrides.changed(tiny_run("simclr", "gradual", granularity="filter", density=0.25), {COMPACT: "true"})
    run = dataclasses.replace(run, sparsity=dataclasses.replace(run.sparsity, end_fraction=0.5))
    assert start_of(run, parts.method_for(run), 100) == 51
