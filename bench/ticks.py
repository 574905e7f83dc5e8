"""How work says how far it has come, and hears that it is to stop."""

from typing import Literal, Protocol

Phase = Literal["training", "settling", "scoring", "probing"]


class Tick(Protocol):
    """Called after every unit of work: an optimizer step, or a batch of images that an encoder has seen."""

    def __call__(self, done: int, total: int, phase: Phase = "training", /) -> None:
        """Report ``done`` of ``total`` units of a phase; a total of 0 says that it is unknown.

        Raises:
            KeyboardInterrupt: the user wants to stop. Write a checkpoint if the state is whole, and let it pass.
        """


def silent(_done: int, _total: int, _phase: Phase = "training", /) -> None:
    """Tell nobody, and never stop."""
