import io
from pathlib import Path

import pytest
from rich.console import Console

from bench.config.run import Run
from bench.runs.course import Stand, Teller, heard
from bench.runs.display import Lines, shown
from bench.runs.progress import Course, Display, Progress, duration
from bench.ticks import Phase
from tests.unit.bench.runs.pool_jobs import a_run


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Silent(Display):
    def show(self, progress: Progress, *, is_last: bool) -> None:
        pass

    def note(self, text: str) -> None:
        pass


NOWHERE = Path("no such folder")


def a_progress(
    runs: list[Run], *, jobs: int, display: Display | None = None, runs_dir: Path = NOWHERE
) -> tuple[Progress, Clock]:
    clock = Clock()
    display = display or Silent()
    return Progress(runs, steps=lambda _: 100, jobs=jobs, runs_dir=runs_dir, display=display, clock=clock), clock


def course(progress: Progress, run: Run) -> Course:
    return progress._courses[run.run_id]


def tick(progress: Progress, run: Run, done: int, total: int, phase: Phase = "training") -> None:
    course(progress, run).take(Stand(phase=phase, done=done, total=total), progress.clock())


def test_a_cell_is_done_when_all_its_runs_are() -> None:
    runs = [a_run(0), a_run(1), a_run(0, "rigl"), a_run(1, "rigl")]
    progress, _ = a_progress(runs, jobs=2)
    done = []
    for run in (runs[0], runs[2], runs[3], runs[1]):
        progress.finished(run.run_id, failed=run.seed == 1)
        done.append((progress.cells, progress.runs))
    assert done == [((0, 2), (1, 4)), ((0, 2), (2, 4)), ((1, 2), (3, 4)), ((2, 2), (4, 4))]
    assert progress.summary == "cells 2/2, runs 4/4, 2 failed, done in 0 s"


def test_the_time_left_is_the_rest_at_the_measured_rate_shared_by_the_workers() -> None:
    runs = [a_run(seed) for seed in range(4)]
    progress, clock = a_progress(runs, jobs=2)
    assert progress.seconds_left is None
    assert progress.summary == "cells 0/1, runs 0/4, starting"
    for run in runs[:2]:
        progress.started(run.run_id)
        tick(progress, run, 0, 100)
    clock.now += 10
    for run in runs[:2]:
        tick(progress, run, 50, 100)  # 100 steps in 20 worker-seconds
    assert progress.seconds_left == pytest.approx(300 * 0.2 / 2)
    progress.finished(runs[0].run_id, failed=True)  # a failed run makes no more steps
    assert progress.seconds_left == pytest.approx(250 * 0.2 / 2)


def test_the_time_left_is_at_least_that_of_the_longest_run() -> None:
    progress, clock = a_progress([a_run(0), a_run(1)], jobs=16)
    progress.started(a_run(0).run_id)
    tick(progress, a_run(0), 0, 100)
    clock.now += 10
    tick(progress, a_run(0), 50, 100)
    assert progress.seconds_left == pytest.approx(100 * 0.2)


def test_steps_before_a_resume_do_not_count_as_speed() -> None:
    progress, clock = a_progress([a_run(0)], jobs=1)
    progress.started(a_run(0).run_id)
    tick(progress, a_run(0), 80, 100)
    assert progress.seconds_left is None
    clock.now += 5
    tick(progress, a_run(0), 90, 100)
    assert progress.seconds_left == pytest.approx(10 * 0.5)


def test_without_a_terminal_there_is_a_line_at_once_then_every_30_seconds_and_a_last_one() -> None:
    text = io.StringIO()
    progress, clock = a_progress([a_run(0)], jobs=1, display=Lines(Console(file=text, width=20)))
    progress.refresh()
    progress.started(a_run(0).run_id)
    for second in range(1, 66):
        clock.now += 1
        if second > 40:
            tick(progress, a_run(0), second - 41, 100)
        progress.refresh()
    progress.finished(a_run(0).run_id, failed=False)
    progress.refresh(is_last=True)
    assert text.getvalue().splitlines() == [
        "cells 0/1, runs 0/1, starting",
        "cells 0/1, runs 0/1; simclr/dense/-/d1.00 seed 0 starting",
        "cells 0/1, runs 0/1, about 4 min 16 s left; simclr/dense/-/d1.00 seed 0 step 19/100",
        "cells 1/1, runs 1/1, done in 1 min 05 s",
    ]


def test_a_run_past_its_last_step_says_what_it_does_and_counts_by_what_that_took_others() -> None:
    runs = [a_run(seed) for seed in range(2)]
    progress, clock = a_progress(runs, jobs=1)
    progress.started(runs[0].run_id)
    tick(progress, runs[0], 0, 100)
    clock.now += 10
    tick(progress, runs[0], 100, 100)
    tick(progress, runs[0], 0, 0, "settling")
    assert course(progress, runs[0]).stage == "settling"
    assert progress.seconds_left == pytest.approx(10.0)  # of the second; how long settling takes, nobody knows yet
    clock.now += 30
    tick(progress, runs[0], 3, 20, "scoring")
    assert course(progress, runs[0]).stage == "scoring, batch 3/20"
    progress.finished(runs[0].run_id, failed=False)
    assert progress.seconds_left == pytest.approx(10.0 + 30.0)
    progress.started(runs[1].run_id)
    tick(progress, runs[1], 0, 100)
    clock.now += 10
    tick(progress, runs[1], 0, 8, "probing")
    clock.now += 20
    assert progress.seconds_left == pytest.approx(10.0)


def test_when_only_what_follows_the_last_step_is_left_no_0_seconds_are_promised() -> None:
    progress, clock = a_progress([a_run(0)], jobs=1)
    progress.started(a_run(0).run_id)
    tick(progress, a_run(0), 0, 100)
    clock.now += 10
    tick(progress, a_run(0), 0, 0, "settling")
    assert progress.seconds_left is None
    assert "left" not in progress.summary


def never() -> None:
    """Heed nobody."""


def test_a_run_tells_its_phases_at_once_and_heeds_and_says_nothing_once_it_is_over(tmp_path: Path) -> None:
    path, heeded = tmp_path / "progress.json", list[int]()
    path.write_text("{", encoding="utf-8")
    assert heard(path) is None
    with Teller(path, lambda: heeded.append(1)) as tell:
        assert not path.exists()  # the last words of a killed process
        tell(1, 9)
        tell(2, 9)
        assert heard(path) == Stand(phase="training", done=1, total=9)  # now and then
        tell(0, 0, "probing")
        assert heard(path) == Stand(phase="probing", done=0, total=0)
    assert heeded
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), Teller(path, stop) as tell:
        tell(1, 9)


def stop() -> None:
    raise KeyboardInterrupt


def test_without_runs_nothing_is_shown() -> None:
    text = io.StringIO()
    with shown([], steps=lambda _: 100, jobs=1, runs_dir=NOWHERE, console=Console(file=text)):
        pass
    assert not text.getvalue()


def test_a_terminal_shows_the_runs_under_way_here_and_elsewhere_and_the_notes(tmp_path: Path) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, legacy_windows=False)
    for run in (a_run(0), a_run(1)):
        (tmp_path / run.run_id).mkdir()
    with (
        shown([a_run(0), a_run(1)], steps=lambda _: 100, jobs=1, runs_dir=tmp_path, console=console) as progress,
        Teller(tmp_path / a_run(0).run_id / "progress.json", never) as tell,
        Teller(tmp_path / a_run(1).run_id / "progress.json", never) as tell_too,
    ):
        progress.started(a_run(0).run_id)
        progress.taken(a_run(1).run_id, "process 7 on moon")
        tell(7, 100)
        tell_too(3, 0, "settling")
        progress.note("[3] records [bold] were made by other code")
        progress.refresh(is_last=True)
    assert "simclr/dense/-/d1.00 seed 0" in text.getvalue()
    assert "step 7/100" in text.getvalue()
    assert "settling, batch 3 (process 7 on moon)" in text.getvalue()
    assert "[3] records [bold] were made by other code" in text.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (365, "6 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_a_duration_is_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
