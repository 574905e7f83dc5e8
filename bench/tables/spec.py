"""A table of a paper as data: its cells are runs, its names parse back."""

import dataclasses
import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from bench.config.cell import parse_cell
from bench.config.profiles import PROFILES
from bench.config.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """One table at one size on one data set.

    Attributes:
        name: e.g. ``cifar10``.
        title: for people.
        profile: ``smoke``, ``cpu`` or ``paper``.
        data: name of the data set trained on; a stand-in has its own name, references and tolerances.
        cells: one run per cell with seed 0, in the order of the rows.
    """

    name: str
    title: str
    profile: str
    data: str
    cells: tuple[Run, ...]

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(f"table {self.name}: profile {self.profile!r} is not one of {', '.join(PROFILES)}.")
        if not self.cells:
            raise ValueError(f"table {self.name}: there are no cells.")
        for run in self.cells:
            parse_cell(run.cell)
            if run.seed != 0:
                raise ValueError(
                    f"table {self.name}: cell {run.cell} has seed {run.seed}; a cell is a run with seed 0."
                )
            if run.data.name != self.data:
                raise ValueError(f"table {self.name} on {self.data}: cell {run.cell} is on {run.data.name}.")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(
                f"table {self.name}: {', '.join(twice)} appear more than once; names must tell cells apart."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The cells' names, in the order of the rows."""
        return tuple(run.cell for run in self.cells)

    def select(self, glob: str) -> "TableSpec":
        """Return the table with only the cells whose name matches, e.g. ``simclr/*``; ``*`` crosses slashes.

        Raises:
            ValueError: no cell matches.
        """
        cells = tuple(run for run in self.cells if fnmatch.fnmatchcase(run.cell, glob))
        if not cells:
            there = "\n  ".join(self.names)
            raise ValueError(f"table {self.name}: no cell matches {glob!r}. The cells are\n  {there}")
        return dataclasses.replace(self, cells=cells)

    def runs(self, seeds: Iterable[int]) -> tuple[Run, ...]:
        """Return every cell with every seed, seed by seed, so that an interrupted table has whole rows.

        Raises:
            ValueError: there is no seed, a negative one, or one twice.
        """
        wanted = tuple(seeds)
        if not wanted or min(wanted) < 0 or len(set(wanted)) < len(wanted):
            raise ValueError(f"table {self.name}: seeds {[*wanted]} must be at least one, not negative, each once.")
        return tuple(dataclasses.replace(run, seed=seed) for seed in wanted for run in self.cells)
