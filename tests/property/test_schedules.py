"""Laws of schedules: I25 to I29."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.schedule import Constant, CosineFraction, Cubic, window


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, int, int]:
    start = draw(st.integers(0, 300))
    return start, start + draw(st.integers(0, 300)), draw(st.integers(1, 120))


@given(windows(), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_cubic_meets_both_ends_and_never_rises(span: tuple[int, int, int], first: float, second: float) -> None:
    start, end, every = span
    final, initial = sorted((first, second))
    ramp = Cubic(start_step=start, end_step=end, every=every, initial=initial, final=final)
    values = [ramp.value(step) for step in range(max(0, start - 3), end + 4)]
    assert all(later <= earlier for earlier, later in pairwise(values))
    assert ramp.value(end) == ramp.value(end + 1000) == final
    if end > start:
        assert ramp.value(start) == initial
        assert ramp.value(0) == initial


def test_cubic_values_by_hand() -> None:
    ramp = Cubic(start_step=10, end_step=20, every=5, initial=0.7, final=0.2)
    assert ramp.value(10) == pytest.approx(0.7)
    assert ramp.value(15) == pytest.approx(0.2 + 0.5 / 8)
    assert ramp.value(20) == 0.2


def test_one_shot_is_legal() -> None:
    ramp = Cubic(start_step=7, end_step=7, every=3, initial=1.0, final=0.1)
    assert ramp.due_steps == (7,)
    assert [ramp.is_due(step) for step in (6, 7, 8)] == [False, True, False]
    assert ramp.value(7) == 0.1


@given(windows())
def test_update_count_is_exact_and_ends_at_the_end(span: tuple[int, int, int]) -> None:
    start, end, every = span
    ramp = Constant(start_step=start, end_step=end, every=every, level=0.5)
    due = tuple(step for step in range(end + 200) if ramp.is_due(step))
    assert due == ramp.due_steps
    assert len(due) == (end - start) // every + 1
    assert due[0] == (start if end - start >= every else end)
    assert due[-1] == end
    assert all(later - before >= every for before, later in pairwise(due))
    assert all(later - before == every for before, later in pairwise(due[:-1]))
    assert ramp.value(start) == 0.5


@given(windows(), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_exchanged_fraction_falls_between_its_ends(span: tuple[int, int, int], first: float, second: float) -> None:
    start, end, every = span
    final, initial = sorted((first, second))
    cosine = CosineFraction(start_step=start, end_step=end, every=every, initial=initial, final=final)
    values = [cosine.value(step) for step in range(end + 3)]
    assert all(0.0 <= value <= initial + 1e-12 for value in values)
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(values))
    assert values[-1] == cosine.value(end) == final
    if end > start:
        assert cosine.value(start) == initial


def test_cosine_values_by_hand() -> None:
    cosine = CosineFraction(start_step=0, end_step=100, every=1, initial=0.5, final=0.005)
    assert cosine.value(50) == pytest.approx((0.5 + 0.005) / 2)
    assert cosine.value(25) == pytest.approx(0.005 + 0.495 * (1 + math.sqrt(0.5)) / 2)


def test_value_is_clamped_outside_the_window() -> None:
    span = {"start_step": 30, "end_step": 60, "every": 7}
    for schedule in (
        Cubic(**span, initial=0.7, final=0.2),
        CosineFraction(**span, initial=0.7, final=0.2),
    ):
        assert schedule.value(0) == schedule.value(30) == 0.7
        assert schedule.value(60) == schedule.value(10_000) == 0.2
        assert not schedule.is_due(29)
        assert not schedule.is_due(61)


@given(st.integers(1, 5000), st.integers(0, 90), st.integers(0, 90), st.integers(1, 100))
def test_windows_are_fractions_of_the_run(total: int, first: int, second: int, period: int) -> None:
    low, high = sorted((first, second))
    start, end, every = window(total, low / 100, high / 100, period / 100)
    # In whole numbers: floor(percent * total / 100), without floating point.
    assert start == low * total // 100
    assert end == high * total // 100 < total
    assert every == max(1, period * total // 100)


def test_the_default_window_has_sixteen_updates_and_none_right_before_the_last() -> None:
    ramp = Cubic.over(1000, 0.30, 0.68, 1 / 40, initial=0.7, final=0.1)
    assert ramp.due_steps == (*range(300, 675, 25), 680)
    assert len(ramp.due_steps) == 16


@pytest.mark.parametrize(
    ("total", "start", "end", "period"),
    [(0, 0.3, 0.6, 0.1), (10, 0.7, 0.6, 0.1), (10, 0.3, 1.0, 0.1), (10, 0.3, 0.6, 0.0), (10, -0.1, 0.6, 0.1)],
)
def test_impossible_windows_raise(total: int, start: float, end: float, period: float) -> None:
    with pytest.raises(ValueError, match="no update window"):
        window(total, start, end, period)


def test_impossible_schedules_raise() -> None:
    with pytest.raises(ValueError, match="start_step <= end_step"):
        Constant(start_step=5, end_step=4, every=1, level=0.0)
    with pytest.raises(ValueError, match="every >= 1"):
        Constant(start_step=5, end_step=8, every=0, level=0.0)
    with pytest.raises(ValueError, match="both in"):
        CosineFraction(start_step=0, end_step=8, every=1, initial=0.0, final=0.005)
