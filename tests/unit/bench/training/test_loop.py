"""A step moves by the mean of its micro-batches at the schedule's rate; what steps took is kept, when it is time."""

import dataclasses
import itertools
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.frameworks.supervised import Supervised
from bench.training import checkpoint, loop, parts
from bench.training.rates import factor
from methods.pruning.dense import Dense
from tests.tiny import dataset_of, tiny_run


def test_a_step_moves_by_the_mean_of_its_micro_batches_at_the_rate_of_the_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run("supervised", "dense", epochs=3)
    spec = dataclasses.replace(
        run.optimizer, batch_images=4, accumulate_batches=2, momentum=0.0, weight_decay=0.0, warmup_epochs=0.5
    )
    run = dataclasses.replace(run, optimizer=spec)
    values = list[float]()

    def loss(self: Supervised, *_: Tensor) -> Tensor:
        weight = self.online.get_parameter("conv1.weight")
        values.append(float(weight.detach()[0, 0, 0, 0]))
        return (3.0 - 2 * (len(values) % 2)) * weight[0, 0, 0, 0]  # 1 and 3 times a weight, by turns

    monkeypatch.setattr(Supervised, "loss", loss)
    monkeypatch.setattr(Dense, "penalty", lambda _: torch.tensor(5.0))
    trained = loop.pretrain(
        run, dataset_of(run, tmp_path), tmp_path / "c.pt", fabric=parts.fabric_for(run), tick=lambda *_: None
    )
    weights = values[::2]
    assert trained.losses == pytest.approx([2 * weight + 5 for weight in weights])
    rates = [spec.learning_rate * factor(step, (), warmup_steps=2, total_steps=12) for step in range(11)]
    moved = [before - after for before, after in itertools.pairwise(weights)]
    assert moved == pytest.approx([2 * rate for rate in rates], rel=1e-3)


def test_checkpoints_come_when_their_time_has_passed_and_at_the_end_and_hold_what_steps_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By clocks that go on by 4, 2 and 1 seconds whenever they are asked."""
    run = tiny_run("supervised", "dense", epochs=2)
    asked, saved = Counter[str](), list[Any]()

    def clock(name: str, seconds: float) -> Any:
        def ask() -> float:
            asked[name] += 1
            return 100.0 + seconds * asked[name]

        return ask

    clocks = clock("monotonic", 4.0), clock("wall", 2.0), clock("cpu", 1.0)
    names = "monotonic", "perf_counter", "process_time"
    monkeypatch.setattr(loop, "time", SimpleNamespace(**dict(zip(names, clocks, strict=True))))
    monkeypatch.setattr(checkpoint, "save", lambda *given: saved.append(given[-1]))
    trained = loop.pretrain(
        run, dataset_of(run, tmp_path), tmp_path / "c.pt", fabric=parts.fabric_for(run), tick=lambda *_: None
    )
    assert [state["step"] for state in saved] == [3, 6, 8]  # after more than ten seconds
    assert trained.step_seconds == [2.0] * 8
    assert (trained.seconds, trained.step_milliseconds) == (16.0, 2000.0)
    assert trained.cpu_seconds == asked["cpu"] - 1  # from the first look at the clock to the last
