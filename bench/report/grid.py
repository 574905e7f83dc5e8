"""A table as values: a column knows its head and how it shows an item, so that the two cannot come apart."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

NOTHING = "-"
ALWAYS_WIDE = 3  # a rank for columns that only files show

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[Item]):
    """A column.

    Attributes:
        title: its head.
        show: an item of the table to the text of its cell; ``NOTHING`` where there is nothing to show.
        is_number: aligned to the right.
        rank: 0 is always shown; where there is little room, higher ranks are left out first.
    """

    title: str
    show: Callable[[Item], str]
    is_number: bool = False
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A title, columns, and rows of as many cells."""

    title: str
    columns: tuple[Column[Any], ...]
    rows: tuple[tuple[str, ...], ...]


def grid(title: str, columns: Iterable[Column[Item]], items: Sequence[Item]) -> Grid:
    """Show every item in every column; columns with nothing in any row are left out."""
    filled = [(column, [column.show(item) for item in items]) for column in columns]
    filled = [(column, cells) for column, cells in filled if any(cell != NOTHING for cell in cells) or not cells]
    rows = zip(*(cells for _, cells in filled), strict=True)
    return Grid(title=title, columns=tuple(column for column, _ in filled), rows=tuple(rows))
