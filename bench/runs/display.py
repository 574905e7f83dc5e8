"""Progress for eyes: bars that move in a terminal, else a line now and then."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import rich.progress
from rich.console import Console, RenderableType
from rich.text import Text

from bench.config.run import Run
from bench.runs.progress import Course, Display, Progress

_LINE_SECONDS = 30.0
_FRAME_SECONDS = 0.2


class Lines(Display):
    """A line at once, one per 30 s, and one at the end: for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown_at: float | None = None

    def show(self, progress: Progress, *, is_last: bool) -> None:  # noqa: D102
        now = progress.clock()
        if is_last or self._shown_at is None or now - self._shown_at >= _LINE_SECONDS:
            self._shown_at = now
            at = [f"{course.name} {course.stage}" for course in [*progress.under_way, *progress.elsewhere]]
            self.note("; ".join([progress.summary, *at]))

    def note(self, text: str) -> None:  # noqa: D102
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Bars(rich.progress.Progress):
    """A bar for each run that somebody is at, and below them the whole in words."""

    words = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield Text(self.words)


class Screen(Display):
    """Bars that move, and below them the state: for terminals."""

    def __init__(self, bars: _Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, rich.progress.TaskID] = {}
        self._shown_at: float | None = None

    def show(self, progress: Progress, *, is_last: bool) -> None:  # noqa: D102
        now = progress.clock()
        if is_last or self._shown_at is None or now - self._shown_at >= _FRAME_SECONDS:
            self._shown_at = now
            self._update([*progress.under_way, *progress.elsewhere])
            self._bars.words = progress.summary
            self._bars.refresh()

    def note(self, text: str) -> None:  # noqa: D102
        self._bars.console.print(text, markup=False, highlight=False)

    def _update(self, courses: Sequence[Course]) -> None:
        """Let every run that somebody is at have its bar, and no other."""
        shown = {course.run.run_id: course for course in courses}
        for run_id in self._tasks.keys() - shown.keys():
            self._bars.remove_task(self._tasks.pop(run_id))
        for run_id, course in shown.items():
            if run_id not in self._tasks:
                self._tasks[run_id] = self._bars.add_task(course.name, total=None, stage="")
            stand = course.stand
            self._bars.update(
                self._tasks[run_id],
                completed=stand.done if stand else 0,
                total=stand.total or None if stand else course.total_steps,
                stage=course.stage,
            )


@contextlib.contextmanager
def shown(
    runs: Sequence[Run],
    *,
    steps: Callable[[Run], int],
    jobs: int,
    runs_dir: Path,
    console: Console | None = None,
) -> Iterator[Progress]:
    """Open the display that suits ``console`` (else standard error); close it with a last state.

    Args:
        runs: what is to be done.
        steps: a run's optimizer steps.
        jobs: runs that may be under way at once.
        runs_dir: holds one folder per run.
        console: where to show it.
    """
    console = console or Console(stderr=True)
    with contextlib.ExitStack() as stack:
        display: Display = Lines(console)
        if console.is_terminal:
            columns = (
                rich.progress.TextColumn("{task.description}", markup=False),
                rich.progress.BarColumn(bar_width=24),
                rich.progress.TextColumn("{task.fields[stage]}", markup=False),
            )
            display = Screen(stack.enter_context(_Bars(*columns, console=console, auto_refresh=False)))
        progress = Progress(runs, steps=steps, jobs=jobs, runs_dir=runs_dir, display=display)
        progress.refresh()
        yield progress
        progress.refresh(is_last=True)
