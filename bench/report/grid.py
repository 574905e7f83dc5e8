"""A table as values: a column knows its head and how it shows an item, so that the two cannot come apart."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

NOTHING = "-"
ALWAYS_WIDE = 3  # a rank for columns that only files show
HTML_ONLY = 4  # a rank for columns that only HTML, which scrolls, shows

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[Item]):
    """A column.

    Attributes:
        title: its head.
        show: an item of the table to the text of its cell; ``NOTHING`` where there is nothing to show.
        is_number: aligned to the right.
        rank: 0 is always shown; where there is little room, higher ranks are left out first.
        is_command: what a cell shows can be typed.
    """

    title: str
    show: Callable[[Item], str]
    is_number: bool = False
    rank: int = 0
    is_command: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table of texts.

    Attributes:
        title: of the table.
        columns: as many as each row has cells.
        rows: of cells.
        groups: of each row: the head under which it stands; empty for none.
    """

    title: str
    columns: tuple[Column[Any], ...]
    rows: tuple[tuple[str, ...], ...]
    groups: tuple[str, ...]

    @property
    def grouped(self) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
        """Give (head, rows) of neighbouring rows with the same head."""
        pairs = itertools.groupby(zip(self.groups, self.rows, strict=True), key=lambda pair: pair[0])
        return ((head, [row for _, row in found]) for head, found in pairs)

    def up_to(self, rank: int) -> "Grid":
        """Return the grid with the columns of these ranks."""
        kept = [index for index, column in enumerate(self.columns) if column.rank <= rank]
        return replace(
            self,
            columns=tuple(self.columns[index] for index in kept),
            rows=tuple(tuple(row[index] for index in kept) for row in self.rows),
        )


def _alone(_: object) -> str:
    return ""


def grid(
    title: str, columns: Iterable[Column[Item]], items: Sequence[Item], *, group: Callable[[Item], str] = _alone
) -> Grid:
    """Show every item in every column; columns with nothing in any row are left out."""
    filled = [(column, [column.show(item) for item in items]) for column in columns]
    filled = [(column, cells) for column, cells in filled if any(cell != NOTHING for cell in cells) or not cells]
    rows = zip(*(cells for _, cells in filled), strict=True)
    return Grid(
        title=title,
        columns=tuple(column for column, _ in filled),
        rows=tuple(rows),
        groups=tuple(map(group, items)),
    )
