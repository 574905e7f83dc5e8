"""A table of a paper as data: its cells are runs, its names parse back."""

import dataclasses
import fnmatch
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from bench.config.cell import parse_cell
from bench.config.overrides import COMPACT, Changes, changed
from bench.config.profiles import PROFILES
from bench.config.run import UNTRAINED, Run
from bench.errors import RunError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """One table at one size on one data set.

    Attributes:
        name: e.g. ``cifar10``.
        title: for people.
        profile: a key of the profiles.
        data: name of the data set trained on; a stand-in has its own name, references and tolerances.
        cells: one run per cell with seed 0, in the order of the rows.
        whole: how many cells the whole table has, where these are only some; else 0.
        settings: KEY=VALUE of what differs from the table's own settings.
        match: what was made equal between rows instead of the density; empty for nothing.
        leaders: (cell, the cell whose cost it was brought to) pairs, where something was made equal.
    """

    name: str
    title: str
    profile: str
    data: str
    cells: tuple[Run, ...]
    whole: int = 0
    settings: tuple[str, ...] = ()
    match: str = ""
    leaders: tuple[tuple[str, str], ...] = ()

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
        twice = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if twice:
            raise ValueError(
                f"table {self.name}: {', '.join(twice)} appear more than once; names must tell cells apart."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The cells' names, in the order of the rows."""
        return tuple(run.cell for run in self.cells)

    @property
    def caption(self) -> str:
        """What every output of the table, pictures too, says of it."""
        part = f", {self._part}" if self._part else ""
        other = f", with {', '.join(self.settings)}" if self.settings else ""
        equal = f", at equal {self.match}" if self.match else ""
        return f"{self.name}, profile {self.profile}, data {self.data}{part}{equal}{other}"

    @property
    def stem(self) -> str:
        """The name of its files: no part of a table, and no other settings, ever overwrite those of the whole."""
        words = [self.name, self.profile, self.data, self._part.removesuffix(" cells").replace(" ", "-")]
        words += [f"at-equal-{self.match}"] if self.match else []
        words += [re.sub(r"[^A-Za-z0-9_.]+", "-", setting) for setting in self.settings]
        return "-".join(word for word in words if word)

    @property
    def _part(self) -> str:
        return f"{len(self.cells)} of {self.whole} cells" if self.whole else ""

    def select(self, glob: str) -> "TableSpec":
        """Return the table with only the cells whose name matches, e.g. ``simclr/*``; ``*`` crosses slashes.

        Raises:
            UsageError: no cell matches.
        """
        found = fnmatch.filter(self.names, glob)
        if not found:
            there = "\n  ".join(self.names)
            raise UsageError(f"table {self.name}: no cell matches {glob!r}. The cells are\n  {there}")
        return self.only(found)

    def only(self, names: Collection[str]) -> "TableSpec":
        """Return the table with only these cells."""
        cells = tuple(run for run in self.cells if run.cell in names)
        leaders = tuple(pair for pair in self.leaders if pair[0] in names)
        whole = self.whole or len(self.cells)
        part = dataclasses.replace(self, cells=cells, leaders=leaders, whole=0 if len(cells) == whole else whole)
        title = self.title.removesuffix(f" ({self._part})")
        return dataclasses.replace(part, title=f"{title} ({part._part})" if part.whole else title)  # noqa: SLF001

    def changed(self, changes: Changes, *, compact: Collection[str] = ()) -> "TableSpec":
        """Return the table with other settings; of ``untrained`` cells the epochs stay 0.

        Args:
            changes: the settings.
            compact: the cells that can be trained compactly: this setting is theirs alone.

        Raises:
            RunError: a cell has no such setting, or the value does not suit it.
        """
        cells = []
        for run in self.cells:
            kept = {"optimizer.epochs"} if run.sparsity.method == UNTRAINED else set()
            kept |= set() if run.cell in compact else {COMPACT}
            try:
                cells.append(changed(run, {key: value for key, value in changes.items() if key not in kept}))
            except RunError as error:
                raise RunError(f"cell {run.cell}: {error} (--cells leaves cells out.)") from error
        settings = tuple(f"{key}={value}" for key, value in changes.items())
        return dataclasses.replace(self, cells=tuple(cells), settings=settings)

    def runs(self, seeds: Iterable[int]) -> tuple[Run, ...]:
        """Return every cell with every seed, seed by seed, so that an interrupted table has whole rows.

        Raises:
            ValueError: there is no seed, a negative one, or one twice.
        """
        wanted = tuple(seeds)
        if not wanted or min(wanted) < 0 or len(set(wanted)) < len(wanted):
            raise ValueError(f"table {self.name}: seeds {[*wanted]} must be at least one, not negative, each once.")
        return tuple(dataclasses.replace(run, seed=seed) for seed in wanted for run in self.cells)
