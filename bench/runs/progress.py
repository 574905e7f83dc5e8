"""How far a set of runs has come, and when it will be done."""

import abc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.config.run import Run
from bench.runs.course import Stand, heard
from bench.runs.folder import RunFolder


@dataclass(slots=True)
class Course:
    """How far one run has come.

    Attributes:
        run: the run.
        total_steps: its optimizer steps.
        path: where whoever is at it says how far it has come.
        started: when this command had somebody begin with it.
        trained: when it was first heard to be past its last step.
        ended: when it had an outcome.
        first_step: the first step heard of; ``None`` before. Those before it were made by an earlier process.
        step: the last step heard of.
        stand: the last that was heard.
        holder: the other process that is at it, if one is.
    """

    run: Run
    total_steps: int
    path: Path
    started: float | None = None
    trained: float | None = None
    ended: float | None = None
    first_step: int | None = None
    step: int = 0
    stand: Stand | None = None
    holder: str = ""

    @property
    def is_under_way(self) -> bool:
        """Whether somebody whom this command hired is at it."""
        return self.started is not None and self.ended is None

    @property
    def is_elsewhere(self) -> bool:
        """Whether another process is at it."""
        return bool(self.holder) and not self.is_under_way and self.ended is None

    @property
    def steps_made(self) -> int:
        """Steps seen to be made."""
        return 0 if self.first_step is None else self.step - self.first_step

    @property
    def steps_left(self) -> int:
        """Steps that will yet be made."""
        return 0 if self.ended is not None else self.total_steps - self.step

    @property
    def name(self) -> str:
        """The cell and the seed."""
        return f"{self.run.cell} seed {self.run.seed}"

    @property
    def stage(self) -> str:
        """What is being done and how far, in words."""
        words = "starting" if self.stand is None else str(self.stand)
        return f"{words} ({self.holder})" if self.is_elsewhere else words

    def take(self, stand: Stand, now: float) -> None:
        """Take note of what whoever is at it says."""
        self.stand = stand
        if stand.phase == "training":
            self.step, self.total_steps = stand.done, stand.total
            self.first_step = stand.done if self.first_step is None else self.first_step
        elif self.trained is None:
            self.step, self.trained = self.total_steps, now
            self.first_step = self.step if self.first_step is None else self.first_step

    def seconds_training(self, now: float) -> float:
        """Return the time spent on its steps by whom this command hired."""
        if self.started is None:
            return 0.0
        return next((end for end in (self.trained, self.ended) if end is not None), now) - self.started


class Display(abc.ABC):
    """Where progress is shown."""

    @abc.abstractmethod
    def show(self, progress: "Progress", *, is_last: bool) -> None:
        """Show the state, if it is time to."""

    @abc.abstractmethod
    def note(self, text: str) -> None:
        """Say something that is to stay readable."""


class Progress:
    """What ``execute`` tells of its runs, and what follows from it and from the runs' own words."""

    def __init__(
        self,
        runs: Sequence[Run],
        *,
        steps: Callable[[Run], int],
        jobs: int,
        runs_dir: Path,
        display: Display,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the runs that ``execute`` will be given.

        Args:
            runs: what is to be done.
            steps: a run's optimizer steps, for the time left.
            jobs: runs that may be under way at once.
            runs_dir: holds one folder per run, in which its progress is told.
            display: where to show it.
            clock: seconds.
        """
        self.clock, self.jobs = clock, jobs
        self.began = clock()
        self.failures = 0
        self._display = display
        self._courses = {run.run_id: Course(run, steps(run), RunFolder.of(runs_dir, run).progress) for run in runs}

    def started(self, run_id: str) -> None:
        """Take note: somebody was hired for the run."""
        course = self._courses[run_id]
        course.started, course.holder = self.clock(), ""

    def taken(self, run_id: str, holder: str) -> None:
        """Take note: another process is at the run, and nobody of ours."""
        course = self._courses[run_id]
        course.started, course.holder = None, holder

    def finished(self, run_id: str, *, failed: bool) -> None:
        """Take note: the run has an outcome."""
        self._courses[run_id].ended = self.clock()
        self.failures += failed

    def note(self, text: str) -> None:
        """Say something that is to stay readable."""
        self._display.note(text)

    def holder(self, run_id: str) -> str:
        """Return which other process is at the run; empty if none is."""
        course = self._courses[run_id]
        return course.holder if course.is_elsewhere else ""

    def refresh(self, *, is_last: bool = False) -> None:
        """Hear how far the runs have come, and show it, if it is time to and there is anything to do."""
        if self._courses:
            for course in [*self.under_way, *self.elsewhere]:
                stand = heard(course.path)
                if stand is not None:
                    course.take(stand, self.clock())
            self._display.show(self, is_last=is_last)

    @property
    def runs(self) -> tuple[int, int]:
        """Runs with an outcome, and all."""
        return sum(course.ended is not None for course in self._courses.values()), len(self._courses)

    @property
    def cells(self) -> tuple[int, int]:
        """Cells all of whose runs have an outcome, and all cells."""
        every = {course.run.cell for course in self._courses.values()}
        unfinished = {course.run.cell for course in self._courses.values() if course.ended is None}
        return len(every) - len(unfinished), len(every)

    @property
    def under_way(self) -> list[Course]:
        """The runs that somebody was hired for."""
        return [course for course in self._courses.values() if course.is_under_way]

    @property
    def elsewhere(self) -> list[Course]:
        """The runs that other processes are at."""
        return [course for course in self._courses.values() if course.is_elsewhere]

    @property
    def seconds_left(self) -> float | None:
        """The time the rest will take, or ``None`` before anything can be said.

        The rate is training seconds per step over the runs so far. The rest takes as long as all its steps shared by
        all who work, and at least as long as its longest run; and then comes what follows a run's last step, as long as
        that took on the average so far.
        """
        now, courses = self.clock(), self._courses.values()
        made = sum(course.steps_made for course in courses if course.started is not None)
        left = [course.steps_left for course in courses]
        if not made and any(left):
            return None
        seconds_per_step = sum(course.seconds_training(now) for course in courses) / made if made else 0.0
        tails = [course.ended - course.trained for course in courses if course.ended and course.trained]
        if not tails and not any(left):
            return None  # only tails are left, and nobody knows how long one is
        workers = self.jobs + len(self.elsewhere)
        tail = statistics.fmean(tails) if tails else 0.0
        waiting = [tail - (now - course.trained if course.trained else 0.0) for course in courses if not course.ended]
        rest = [max(0.0, seconds) for seconds in waiting]
        return seconds_per_step * max(sum(left) / workers, *left) + max([sum(rest) / workers, *rest])

    @property
    def summary(self) -> str:
        """The state in a few words."""
        (cells, all_cells), (runs, all_runs) = self.cells, self.runs
        words = [f"cells {cells}/{all_cells}", f"runs {runs}/{all_runs}"]
        if self.failures:
            words.append(f"{self.failures} failed")
        if self.elsewhere:
            words.append(f"{len(self.elsewhere)} at other processes")
        left = self.seconds_left
        if runs == all_runs:
            words.append(f"done in {duration(self.clock() - self.began)}")
        elif left is not None:
            words.append(f"about {duration(left)} left")
        elif not self.under_way and not self.elsewhere:
            words.append("starting")
        return ", ".join(words)


def duration(seconds: float) -> str:
    """Return ``45 s``, ``6 min 05 s`` or ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
