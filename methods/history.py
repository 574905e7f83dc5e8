"""What a method remembers of its updates: when each was, and named values of it."""

from collections.abc import Mapping
from typing import Any


class History:
    """The steps of a method's updates, and one curve per named value, with an entry for each update."""

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._curves: dict[str, list[float]] = {}

    def add(self, step: int, **values: float) -> None:
        """Note one update.

        Args:
            step: after which it happened.
            values: the same names at every update.

        Raises:
            ValueError: the names are others than before: curves would get out of step.
        """
        if self._steps and values.keys() != self._curves.keys():
            raise ValueError(
                f"an update notes {sorted(values)}, but those before noted {sorted(self._curves)}. "
                "Note the same values at every update."
            )
        self._steps.append(step)
        for name, value in values.items():
            self._curves.setdefault(name, []).append(value)

    @property
    def update_steps(self) -> tuple[int, ...]:
        """The steps of all updates, in their order."""
        return tuple(self._steps)

    @property
    def curves(self) -> dict[str, tuple[float, ...]]:
        """The values of all updates, by name."""
        return {name: tuple(values) for name, values in self._curves.items()}

    def state_dict(self) -> dict[str, object]:
        """Return a copy, as numbers and containers."""
        return {"steps": list(self._steps), "curves": {name: list(values) for name, values in self._curves.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._steps = list(state["steps"])
        self._curves = {name: list(values) for name, values in state["curves"].items()}
