"""Files written by hand or by a tracer, read so that a slip is an error and never a default."""

import dataclasses
import enum
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_type_hints

T = TypeVar("T")


class HardwareError(ValueError):
    """A file, an option or a mask says something unknown, too little, or something impossible."""


def build(kind: type[T], entries: object, where: str, **ready: object) -> T:
    """Return the frozen dataclass ``kind``, each field taken from ``entries`` and checked by its type.

    Args:
        kind: a dataclass whose remaining fields are numbers, truth values, texts or enumerations.
        entries: a table of JSON or TOML with exactly those fields.
        where: names the table in errors.
        ready: fields that the caller has already built.

    Raises:
        HardwareError: for an unknown, missing or impossible entry; it names the key and the way out.
    """
    table = mapping(entries, where)
    hints = get_type_hints(kind)
    wanted = [field.name for field in dataclasses.fields(kind) if field.name not in ready]  # type: ignore[arg-type]
    if unknown := sorted(table.keys() - set(wanted)):
        raise HardwareError(f"{where}: unknown {', '.join(unknown)}. Known: {', '.join(wanted) or 'nothing'}.")
    if missing := [name for name in wanted if name not in table]:
        raise HardwareError(f"{where}: {', '.join(missing)} missing. Add it; nothing has a default here.")
    values = {name: _checked(table[name], hints[name], f"{where}.{name}") for name in wanted}
    try:
        return kind(**values, **ready)
    except HardwareError as error:
        raise HardwareError(f"{where}: {error}") from error


def mapping(entries: object, where: str) -> Mapping[str, Any]:
    """Return ``entries`` if it is a table."""
    if not isinstance(entries, dict):
        raise HardwareError(f"{where} is {entries!r}; it must be a table of named entries.")
    return entries


def at_least(least: float, **values: float) -> None:
    """Demand that each named value is at least ``least``."""
    for name, value in values.items():
        if not value >= least:
            raise HardwareError(f"{name} is {value}; it must be at least {least}.")


def fraction(**values: float) -> None:
    """Demand that each named value lies in [0, 1]."""
    for name, value in values.items():
        if not 0.0 <= value <= 1.0:
            raise HardwareError(f"{name} is {value}; it must lie in [0, 1].")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)


# Type of a field -> what its entry must be, in words and as a test. ``True`` is an ``int`` in Python, not here.
CHECKS: dict[object, tuple[str, Callable[[object], bool]]] = {
    int: ("an integer", _is_integer),
    float: ("a finite number", _is_number),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    str: ("a text that is not empty", lambda value: isinstance(value, str) and bool(value.strip())),
    str | None: ("a text or null", lambda value: value is None or isinstance(value, str)),
}


def _checked(value: object, hint: Any, where: str) -> object:
    if hint in CHECKS:
        words, holds = CHECKS[hint]
        if not holds(value):
            raise HardwareError(f"{where} is {value!r}; it must be {words}.")
        return value
    choices: type[enum.Enum] = hint
    if value not in [item.value for item in choices]:  # a list may not be hashed
        raise HardwareError(f"{where} is {value!r}; choose from {', '.join(str(item.value) for item in choices)}.")
    return choices(value)
