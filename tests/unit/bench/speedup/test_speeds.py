"""What is timed takes turns with what it is compared to. How long anything takes is no test."""

import re

import pytest
import torch

from bench.speedup import gate_speed
from bench.speedup.turns import Ratio, Speed, speeds


def test_everything_stands_between_two_turns_of_the_reference() -> None:
    turns: list[str] = []
    threads = torch.get_num_threads()
    made = speeds(lambda: turns.append("a"), {"b": lambda: turns.append("b"), "c": lambda: turns.append("c")}, rounds=2)
    assert "".join(turns) == "abc" + "abaca" * 2  # the first turns build kernels and are not timed
    assert made.of.keys() == {"b", "c"}
    assert made.seconds > 0
    assert torch.get_num_threads() == threads


def test_short_work_is_repeated_so_that_the_clock_does_not_decide() -> None:
    turns: list[str] = []

    def work(name: str) -> None:
        turns.append(name)
        torch.mm(torch.ones(64, 64), torch.ones(64, 64))

    made = speeds(lambda: work("a"), {"b": lambda: work("b")}, rounds=1, least_seconds=0.01)
    repeated = "".join(turns).partition("aba")[2]  # once each, and once to see how often
    times = repeated.index("b")
    assert times > 1
    assert repeated == "a" * times + "b" * times + "a" * times
    assert made.seconds < 0.01


def test_a_ratio_is_of_neighbours_and_above_one_if_faster() -> None:
    square = torch.randn(300, 300)

    def work(times: int) -> None:
        for _ in range(times):
            torch.mm(square, square)

    made = speeds(lambda: work(16), {"half": lambda: work(8), "same": lambda: work(16)}, rounds=7)
    half, same = made.of["half"], made.of["same"]
    assert isinstance(half, Speed)
    assert half.cpu.low <= half.cpu.median <= half.cpu.high
    assert half.cpu.median > same.cpu.median
    assert half.wall.median > 0
    assert isinstance(made.noise, Ratio)


@pytest.mark.parametrize(("kind", "reduction"), [("pixels", lambda rate: 1 / rate), ("slices", None)])
def test_a_skipping_layer_is_timed_and_exact(kind: gate_speed.Kind, reduction: object) -> None:
    found = gate_speed.timing(kind, 32, 4, slice_channels=8, rate=0.25, images=16, rounds=2)
    assert found.rate == pytest.approx(0.25, abs=0.02)
    expected = 1 / found.rate if reduction else 1 / (0.25 + 0.75 * found.rate)
    assert found.macs_reduction == pytest.approx(expected)
    assert found.largest_error < 1e-4
    assert min(found.dense_seconds, found.step_seconds, found.masked.low, found.skipped.low, found.step.low) > 0
    assert any(f"{found.skipped.median:.2f}x" in line for line in gate_speed.lines([found]))


@pytest.mark.parametrize(
    ("speed_ups", "said"),
    [
        ((2.0, 1.0, 0.5), "at a rate of 0.26"),
        ((0.9, 0.8, 0.7), "below a rate of 0.10"),
        ((3.0, 2.0, 1.5), "above a rate of 0.50"),
    ],
)
def test_the_rate_that_breaks_even_is_interpolated_and_never_extrapolated(
    speed_ups: tuple[float, ...], said: str
) -> None:
    one = Ratio(median=1.0, low=1.0, high=1.0)
    found = [
        gate_speed.Timing(
            kind="pixels",
            channels=8,
            side=4,
            slice_channels=8,
            rate=rate,
            dense_seconds=1.0,
            noise=one,
            masked=one,
            skipped=Ratio(median=value, low=value, high=value),
            largest_error=0.0,
            step_seconds=1.0,
            step=Ratio(median=1 / value, low=1 / value, high=1 / value),
        )
        for rate, value in zip(gate_speed.RATES, speed_ups, strict=True)
    ]
    assert re.search(rf"pixels +8 x +4: {said}$", gate_speed.lines(found)[-1])
