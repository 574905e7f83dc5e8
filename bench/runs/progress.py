"""How far a set of runs has come, and when it will be done: live in a terminal, else a line now and then."""

import abc
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.config.run import Run

_LINE_SECONDS = 30.0
_FRAME_SECONDS = 0.2


@dataclass(slots=True)
class Course:
    """How far one run has come.

    Attributes:
        run: the run.
        total_steps: its optimizer steps.
        started: when a worker began with it.
        ended: when it had an outcome.
        first_step: the first step heard of; ``None`` before. Those before it were made by an earlier process.
        step: the last step heard of.
    """

    run: Run
    total_steps: int
    started: float | None = None
    ended: float | None = None
    first_step: int | None = None
    step: int = 0

    @property
    def is_under_way(self) -> bool:
        """Whether a worker is at it."""
        return self.started is not None and self.ended is None

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
        """``step 12/240``, or ``starting`` before the first step."""
        return "starting" if self.first_step is None else f"step {self.step}/{self.total_steps}"

    def seconds(self, now: float) -> float:
        """Return the worker time spent on it."""
        if self.started is None:
            return 0.0
        return (now if self.ended is None else self.ended) - self.started


class Display(abc.ABC):
    """Where progress is shown."""

    @abc.abstractmethod
    def show(self, progress: "Progress", *, is_last: bool) -> None:
        """Show the state, if it is time to."""

    @abc.abstractmethod
    def note(self, text: str) -> None:
        """Say something that is to stay readable."""


class Progress:
    """What ``execute`` tells of its runs, and what follows from it."""

    def __init__(
        self,
        runs: Sequence[Run],
        *,
        steps: Callable[[Run], int],
        jobs: int,
        display: Display,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the runs that ``execute`` will be given.

        Args:
            runs: what is to be done.
            steps: a run's optimizer steps, for the time left.
            jobs: worker processes.
            display: where to show it.
            clock: seconds.
        """
        self.clock, self.jobs = clock, jobs
        self.began = clock()
        self.failures = 0
        self._display = display
        self._courses = {run.run_id: Course(run, steps(run)) for run in runs}

    def started(self, run_id: str) -> None:
        """Take note: a worker begins with the run."""
        self._courses[run_id].started = self.clock()

    def tick(self, run_id: str, step: int, total_steps: int) -> None:
        """Take note: ``step`` of ``total_steps`` are done."""
        course = self._courses[run_id]
        course.step, course.total_steps = step, total_steps
        if course.first_step is None:
            course.first_step = step

    def finished(self, run_id: str, *, failed: bool) -> None:
        """Take note: the run has an outcome."""
        self._courses[run_id].ended = self.clock()
        self.failures += failed

    def note(self, text: str) -> None:
        """Say something that is to stay readable."""
        self._display.note(text)

    def refresh(self, *, is_last: bool = False) -> None:
        """Show the state, if it is time to and there is anything to do."""
        if self._courses:
            self._display.show(self, is_last=is_last)

    @property
    def runs(self) -> tuple[int, int]:
        """Runs with an outcome, and all."""
        return sum(course.ended is not None for course in self._courses.values()), len(self._courses)

    @property
    def cells(self) -> tuple[int, int]:
        """Cells all of whose runs have an outcome, and all cells."""
        every = {course.run.cell for course in self._courses.values()}
        return len(every) - len({course.run.cell for course in self._courses.values() if course.ended is None}), len(
            every
        )

    @property
    def under_way(self) -> list[Course]:
        """The runs that workers are at."""
        return [course for course in self._courses.values() if course.is_under_way]

    @property
    def seconds_left(self) -> float | None:
        """The time the rest will take, or ``None`` before the first steps.

        The rate is steps per second of worker time, evaluation and all, over the runs so far. The rest takes
        as long as all its steps shared by the workers, and at least as long as its longest run.
        """
        now, courses = self.clock(), self._courses.values()
        made = sum(course.steps_made for course in courses)
        if not made:
            return None
        seconds_per_step = sum(course.seconds(now) for course in courses) / made
        left = [course.steps_left for course in courses]
        return seconds_per_step * max(sum(left) / self.jobs, *left)

    @property
    def summary(self) -> str:
        """The state in a few words."""
        (cells, all_cells), (runs, all_runs) = self.cells, self.runs
        words = [f"cells {cells}/{all_cells}", f"runs {runs}/{all_runs}"]
        if self.failures:
            words.append(f"{self.failures} failed")
        left = self.seconds_left
        if runs == all_runs:
            words.append(f"done in {duration(self.clock() - self.began)}")
        elif left is not None:
            words.append(f"about {duration(left)} left")
        elif not self.under_way:
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


class Lines(Display):
    """A line at once, one per 30 s, and one at the end: for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown_at: float | None = None

    def show(self, progress: Progress, *, is_last: bool) -> None:  # noqa: D102
        now = progress.clock()
        if is_last or self._shown_at is None or now - self._shown_at >= _LINE_SECONDS:
            self._shown_at = now
            self.note("; ".join([progress.summary, *(f"{at.name} {at.stage}" for at in progress.under_way)]))

    def note(self, text: str) -> None:  # noqa: D102
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class Screen(Display):
    """Bars that move, and below them the state: for terminals."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._shown_at: float | None = None

    def show(self, progress: Progress, *, is_last: bool) -> None:  # noqa: D102
        now = progress.clock()
        if is_last or self._shown_at is None or now - self._shown_at >= _FRAME_SECONDS:
            self._shown_at = now
            self._live.update(_frame(progress), refresh=True)

    def note(self, text: str) -> None:  # noqa: D102
        self._live.console.print(text, markup=False, highlight=False)


def _frame(progress: Progress) -> Group:
    """Return a line per run under way and one for the whole."""
    table = Table.grid(padding=(0, 2))
    for course in progress.under_way:
        bar = ProgressBar(total=max(1, course.total_steps), completed=course.step, width=24)
        table.add_row(course.name, bar, course.stage)
    return Group(table, Text(progress.summary))


@contextlib.contextmanager
def shown(
    runs: Sequence[Run], *, steps: Callable[[Run], int], jobs: int, console: Console | None = None
) -> Iterator[Progress]:
    """Open the display that suits ``console`` (else standard error); close it with a last state."""
    console = console or Console(stderr=True)
    with contextlib.ExitStack() as stack:
        display: Display = Lines(console)
        if console.is_terminal:
            display = Screen(stack.enter_context(Live(console=console, auto_refresh=False)))
        progress = Progress(runs, steps=steps, jobs=jobs, display=display)
        progress.refresh()
        yield progress
        progress.refresh(is_last=True)
