"""Ctrl-C, and the signals by which schedulers say that time is up: counted, and acted on where the state is whole."""

import signal
from collections.abc import Sequence
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(KeyboardInterrupt):
    """A command was told to stop. What was under way has written its checkpoints.

    Attributes:
        number: of the signal.
        exit_code: as a shell would put it.
    """

    def __init__(self, number: int) -> None:
        """Take the signal."""
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 and the signal's number: 130, 143 or 138."""
        return 128 + self.number


class Interrupts:
    """Hears signals without raising: an exception between any two lines would leave processes behind.

    What is ignored already, as Ctrl-C is in a background job of a script, stays ignored. Must be entered in the main
    thread.

    Attributes:
        first: the first signal heard; ``None`` before.
        presses: how often Ctrl-C was pressed.
    """

    def __init__(self, signals: Sequence[signal.Signals] = SIGNALS) -> None:
        """Hear nothing yet; later, these signals."""
        self._signals = signals
        self.first: int | None = None
        self.presses = 0

    def __enter__(self) -> Self:
        self._before = {number: signal.getsignal(number) for number in self._signals}
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self.first = self.first or number
        self.presses += number == signal.SIGINT
