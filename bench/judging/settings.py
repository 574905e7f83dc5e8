"""Hand-written settings of the judge, read so that a slip of the pen is an error and never a default."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from bench.errors import UserError, unknown
from reading import read_toml

T = TypeVar("T")


class SettingsError(UserError):
    """A file of settings that says something unknown, too little, or something impossible."""


def read(kind: type[T], path: Path) -> T:
    """Return the dataclass that a TOML file holds.

    Raises:
        SettingsError: the file is unreadable, or has unknown, missing or impossible entries.
    """
    return read_toml(kind, path, SettingsError)


@contextlib.contextmanager
def placed(where: object) -> Iterator[None]:
    """Name the place in the errors about what was read there.

    Args:
        where: a file's path, or the name of an entry.

    Raises:
        SettingsError: as it came, behind the place.
    """
    try:
        yield
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from error


def level(**values: float) -> None:
    """Demand that each named value is a probability in (0, 0.5)."""
    for name, value in values.items():
        if not 0.0 < value < 0.5:
            raise SettingsError(f"{name} is {value}; it must lie in (0, 0.5).")


def known(choices: Sequence[str], **values: str) -> None:
    """Demand that each named value is one of the choices."""
    for name, value in values.items():
        if value not in choices:
            raise SettingsError(unknown(name, value, choices))


def once(what: str, names: Sequence[str], way_out: str) -> None:
    """Demand that there are names, and no name twice.

    Args:
        what: the names are of.
        names: in any order.
        way_out: what to do about a name that is there twice.
    """
    if not names:
        raise SettingsError(f"there is no {what}. Add one.")
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"{what} {name} appears twice. {way_out}")
