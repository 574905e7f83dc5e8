"""Who performs runs: a lane hires processes here, or elsewhere. The folder of the runs is all that they share."""

from collections.abc import Callable
from typing import Protocol

from bench.config.run import Run
from bench.runs.outcomes import Failed, Taken
from bench.runs.record import Record


class Handle(Protocol):
    """One run that somebody was hired for."""

    def poll(self) -> Record | Failed | Taken | None:
        """Return what came of it; ``None`` while nothing has. Never waits."""


class Lane(Protocol):
    """Where runs are performed."""

    @property
    def width(self) -> int:
        """How many runs may be under way at once."""

    @property
    def is_here(self) -> bool:
        """Whether this machine does the work."""

    def hire(self, run: Run) -> Handle:
        """Have a run attempted."""

    def wait(self, seconds: float) -> None:
        """Return when somebody may have something to say, after ``seconds`` at the latest."""

    def close(self, *, is_interrupted: bool, hurry: Callable[[], bool], note: Callable[[str], None]) -> None:
        """Let go of everybody.

        Args:
            is_interrupted: the user wants to stop, and runs may be under way.
            hurry: whether the user does not want to wait any longer.
            note: says something to the user: what is waited for, or what goes on without this process.
        """
