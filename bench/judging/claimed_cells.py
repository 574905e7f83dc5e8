"""Whether a claim speaks about cells that there are: a glob with a slip in it would silently judge nothing."""

import fnmatch
import functools
from collections.abc import Iterable, Sequence

from bench.config.cell import FORM
from bench.errors import unknown
from bench.judging.settings import SettingsError, known
from bench.tables import TABLES

_PARTS = ("framework", "method", "granularity", "point")


def require_cells(table: str, profiles: Iterable[str], globs: Sequence[str]) -> None:
    """Demand that each glob matches a cell of the table at each profile.

    Args:
        table: a key of ``TABLES``.
        profiles: that can bear the claim; where none can, a cell of any table at any profile will do.
        globs: over names of cells.

    Raises:
        SettingsError: a glob matches none; the message says which of its parts is unknown.
    """
    known([*TABLES], table=table)
    bearing = [(f"table {table} at profile {profile}", cells_of(table, profile)) for profile in profiles]
    for where, cells in bearing or [("any table", _all_cells())]:
        for glob in globs:
            if not fnmatch.filter(cells, glob):
                raise SettingsError(f"{glob!r} matches no cell of {where}. {_reason(glob, cells)}")


def _reason(glob: str, cells: Sequence[str]) -> str:
    """Say which part of a glob no cell has, or that no cell has them together."""
    parts = glob.split("/")
    if len(parts) == len(_PARTS):
        columns = zip(*(cell.split("/") for cell in cells), strict=True)
        for what, part, there in zip(_PARTS, parts, columns, strict=True):
            if not fnmatch.filter(there, part):
                return unknown(what, part, sorted(set(there)))
    return f"A name reads {FORM}; there is {cells[0]}, for one."


@functools.cache
def cells_of(table: str, profile: str) -> tuple[str, ...]:
    """Return the names of a table's cells on the data set that it is about."""
    return TABLES[table](profile, TABLES[table].data).names


@functools.cache
def _all_cells() -> tuple[str, ...]:
    sizes = [(name, profile) for name, table in TABLES.items() for profile in table.profiles]
    return tuple(dict.fromkeys(cell for size in sizes for cell in cells_of(*size)))
