"""Before days on GPUs begin, a few steps say how many."""

import dataclasses
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import pytest

from bench.config.run import UNTRAINED, Run
from bench.runs import estimate
from bench.runs.context import Context
from bench.training import loop
from tests.tiny import BATCH, gated_run, tiny_run

RUNS = (
    tiny_run("simclr", "gradual", epochs=9),
    tiny_run("simclr", "dense", epochs=9),
    tiny_run("byol", "dense", epochs=18),
    gated_run("simclr", "dual_gate", 1.5, epochs=9),
)


class Here:
    """A pool that does its work in this process."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, job: Any, *arguments: Any) -> "Future[Any]":
        future = Future[Any]()
        try:
            future.set_result(job(*arguments))
        except RuntimeError as error:
            future.set_exception(error)
        return future


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor", Here)
    return Context(runs_dir=tmp_path / "runs", data_dir=tmp_path, cache_dir=tmp_path / "cache")


def test_a_run_is_timed_for_some_steps_and_leaves_nothing(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, make = list[int](), loop.pretrain

    def watched(*arguments: Any, tick: Any, **others: Any) -> Any:
        def told(done: int, total: int, *phase: Any) -> None:
            taken.append(done)
            tick(done, total, *phase)

        return make(*arguments, tick=told, **others)

    monkeypatch.setattr(loop, "pretrain", watched)
    assert 0.0 < estimate.step_seconds(tiny_run("simclr", "dense", epochs=9), context) < 10.0
    assert taken[-1] == estimate.WARM_UP_STEPS + estimate.TIMED_STEPS
    assert not context.runs_dir.exists()
    assert estimate.step_seconds(tiny_run("simclr", "dense", epochs=1), context) > 0.0  # of four steps


def test_hours_are_steps_times_the_first_of_each_kind(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[Run]()

    def seconds(run: Run, _context: Context) -> float:
        asked.append(run)
        return {"simclr": 100.0, "byol": 50.0}[run.framework.name] * (3.0 if run.sparsity.reduction else 1.0)

    monkeypatch.setattr(estimate, "step_seconds", seconds)
    (note,) = estimate.announced(RUNS, 4 * BATCH, context, jobs=2)
    assert {run.run_id for run in asked} == {run.run_id for run in (RUNS[0], RUNS[2], RUNS[3])}
    hours = 36 * (100 + 100 + 2 * 50 + 300) / 3600  # four steps an epoch
    assert f"About {hours:.1f} GPU-hours of training for 4 runs, 2 at once" in note
    assert "byol 50000.0 ms, simclr 100000.0 ms, simclr with gates 300000.0 ms" in note


def test_without_a_step_there_is_nothing_to_say(context: Context) -> None:
    run = tiny_run("simclr", "dense")
    none = dataclasses.replace(run.optimizer, epochs=0)
    run = dataclasses.replace(run, sparsity=dataclasses.replace(run.sparsity, method=UNTRAINED), optimizer=none)
    assert estimate.announced([run], 4 * BATCH, context, jobs=1) == []


def test_a_step_that_fails_stops_no_table(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_run: Run, _context: Context) -> float:
        raise RuntimeError("CUDA out of\nmemory")

    monkeypatch.setattr(estimate, "step_seconds", full)
    (note,) = estimate.announced(RUNS, 4 * BATCH, context, jobs=1)
    assert "GPU-hours are not known: a step of byol/dense/-/d1.00 failed (CUDA out of memory)" in note
