"""``bench-step`` measures what it says, in turns. How long anything takes is no test."""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.__main__ import main
from bench.config import profiles
from bench.speedup import step_cost
from bench.speedup.contestants import Bare, Contestant, Loop, ViewsAlone
from bench.speedup.step_cost import AGAIN, BARE, DENSE, MEASURED, PASSES, VIEWS, suited
from bench.speedup.turns import Ratio
from bench.views.batched import BatchedViews
from bench.views.recipes import RECIPES
from methods import METHODS
from tests.tiny import FRAMEWORKS, tiny_run


@pytest.fixture(name="_tiny")
def fixture_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a profile as small as the runs of tests."""
    run, smoke = tiny_run("simclr", "dense"), profiles.PROFILES["smoke"]
    recipe = dataclasses.replace(
        smoke.recipes["simclr"],
        framework=FRAMEWORKS["simclr"],
        optimizer=dataclasses.replace(smoke.recipes["simclr"].optimizer, batch_images=8),
    )
    tiny = dataclasses.replace(smoke, encoder=run.encoder, recipes={"simclr": recipe})
    monkeypatch.setitem(profiles.PROFILES, "smoke", tiny)


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *options: str, code: int = 0) -> str:
    monkeypatch.setattr(sys, "argv", ["bench", "bench-step", *options])
    assert main() == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


@pytest.mark.usefixtures("_tiny")
def test_every_contestant_has_a_row_and_takes_its_turns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[tuple[str, int]] = []
    for kind in (Loop, Bare, ViewsAlone):
        monkeypatch.setattr(kind, "take", _counted(kind.take, turns))
    methods = ("rigl", "asp", "group_lasso", "dual_gate")  # single weights, a pattern, shapes, gates
    said = call(capsys, monkeypatch, "--methods", *methods, "--rounds", "2", "--steps", "3")
    assert "2 rounds of 3 steps" in said
    maker = BatchedViews(RECIPES["simclr"], seed=0, images=1, side=32).maker(torch.device("cpu"))
    assert f"\nViews are made by {maker}.\n" in said
    for name in (DENSE, AGAIN, *methods, VIEWS, PASSES, BARE):
        assert sum(line.startswith(f"{name}  ") for line in said.splitlines()) == 1, name
    contestants = len(methods) + 5
    assert [steps for _, steps in turns] == [2] * contestants + [3] * (2 * contestants)  # the warm-up, two rounds
    before, first, second = (turns[index * contestants : (index + 1) * contestants] for index in range(3))
    assert first == [(name, 3) for name, _ in before]
    assert second == [*first[1:], first[0]]  # whoever was first is last now


@pytest.mark.usefixtures("_tiny")
def test_dense_training_and_each_method_are_measured_with_compiled_encoders_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    class Idle(Contestant):
        def __init__(self, *_: object, compiles: bool = False, has_optimizer: bool = False) -> None:
            del has_optimizer
            asked.append(compiles)

        def take(self, _: int) -> float:
            return 1.0

    for name in ("Loop", "Bare", "ViewsAlone"):
        monkeypatch.setattr(step_cost, name, Idle)
    said = call(capsys, monkeypatch, "--methods", "rigl", "--rounds", "1", "--steps", "1", "--compile")
    for name in ("rigl", "dense, compiled", "rigl, compiled"):
        assert sum(line.startswith(f"{name}  ") for line in said.splitlines()) == 1, name
    assert asked == [
        False,
        False,
        False,
        True,
        True,
        False,
        False,
        False,
    ]  # two dense, rigl; compiled; bare


def test_all_methods_are_measured_but_those_that_the_framework_cannot_have_which_are_named() -> None:
    """Methods that keep a branch dense had no setting, and neither had a control on smaller images: nothing ran."""
    for framework, left_out in (("simclr", ["momentum_pruning"]), ("moco", ["sdclr"])):
        base = tiny_run(framework, "dense")
        base, told = dataclasses.replace(base, optimizer=dataclasses.replace(base.optimizer, steps=40)), list[str]()
        assert suited(base, told.append) == [name for name in MEASURED if name not in left_out]
        assert [line.split(": ")[1] for line in told] == left_out
    assert set(METHODS) - {*MEASURED} == {"dense", "dense_small_images"}


def _counted(take: Callable[[Any, int], float], turns: list[tuple[str, int]]) -> Callable[[Any, int], float]:
    def counted(contestant: Contestant, steps: int) -> float:
        turns.append((str(id(contestant)), steps))
        seconds = take(contestant, steps)
        assert seconds > 0
        return seconds

    return counted


@pytest.mark.usefixtures("_tiny")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--methods", "riggl"), "method 'riggl' is unknown. Did you mean 'rigl'?"),
        (("--framework", "simclear"), "framework 'simclear' is unknown. Did you mean 'simclr'?"),
        (("--rounds", "0"), "--rounds 0 --steps None: both must be at least 1"),
        (("--steps", "0"), "--steps 0: both must be at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], message: str
) -> None:
    assert message in call(capsys, monkeypatch, *options, code=2)


def test_an_interval_holds_the_median_and_leaves_out_what_is_far() -> None:
    few = Ratio.of([1.0, 1.2, 0.9])
    assert (few.median, few.low, few.high) == (1.0, 0.9, 1.2)
    many = Ratio.of([1.0, 1.1, 0.9, 5.0, 0.1, 1.0, 1.0, 1.2, 0.8])
    assert (many.median, many.low, many.high) == (1.0, 0.8, 1.2)  # the second and the eighth: 96.1 %
