"""Values read from files: a frozen dataclass says what its file may hold, and a slip is an error and never a guess.

Nothing is converted: a number in quotes is no number, 1 is not true, a text is no list of letters. Entries that the
dataclass does not know are refused; fields without a default must be there.
"""

import dataclasses
import enum
import functools
import json
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from cattrs import BaseValidationError, ClassValidationError, Converter, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn

T = TypeVar("T")
MOST_SLIPS = 3  # that one message names
_TOO_DEEP = "nested too deeply"


def read_toml(kind: type[T], path: Path, error: Callable[[str], Exception]) -> T:
    """Return the dataclass that a TOML file holds.

    Raises:
        error: the file is unreadable, or holds something else; the message names the file, the entry and the rule.
    """
    return structured(kind, toml_entries(path, error), str(path), error)


def toml_entries(path: Path, error: Callable[[str], Exception]) -> dict[str, Any]:
    """Return what a TOML file holds, unchecked.

    Raises:
        error: the file is unreadable or no TOML; the message names it.
    """
    try:
        return toml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        raise error(f"{path}: not a readable TOML file ({reason}).") from None


def toml(text: str) -> dict[str, Any]:
    """Return what a text of TOML holds, unchecked.

    Raises:
        ValueError: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def read_json(path: Path) -> object:
    """Return what a JSON file holds. Numbers are finite, and no entry is given twice.

    Raises:
        ValueError: the file is unreadable or no JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except (OSError, ValueError) as reason:
        raise ValueError(str(reason)) from None


def structured(kind: type[T], entries: object, where: str, error: Callable[[str], Exception]) -> T:
    """Return the value of a type that plain ``entries`` stand for.

    Args:
        kind: a dataclass, or anything that a field of one may be.
        entries: mappings, lists, texts, numbers and truth values.
        where: names their source in messages.
        error: what to raise.

    Raises:
        error: they stand for none; the message names the entry, its value and the rule.
    """
    try:
        return _CONVERTER.structure(entries, kind)
    except Exception as reason:  # noqa: BLE001  # whatever a value holds against itself
        slips = list(_slips(reason, ""))
        more = f" And {len(slips) - MOST_SLIPS} more." if len(slips) > MOST_SLIPS else ""
        raise error(f"{where}: {' '.join(slips[:MOST_SLIPS])}{more}") from None


class _WrongKindError(ValueError):
    """An entry of another type."""


def _slips(reason: BaseException, place: str) -> Iterator[str]:
    """Yield a sentence on each slip in the tree of errors that cattrs raises."""
    if isinstance(reason, BaseValidationError):
        noted, others = reason.group_exceptions()  # type: ignore[attr-defined]
        for inner, note in noted:
            is_field = isinstance(reason, ClassValidationError)
            step = f"{'.' if place else ''}{note.name}" if is_field else f"[{note.index}]"
            yield from _slips(inner, f"{place}{step}")
        for inner in others:
            yield from _slips(inner, place)
    elif isinstance(reason, ForbiddenExtraKeysError):
        inside = f"{place} has " if place else ""
        known = ", ".join(field.name for field in dataclasses.fields(reason.cl))
        strangers = ", ".join(sorted(map(str, reason.extra_fields)))
        yield f"{inside}unknown entries {strangers}. Remove or correct them; there are {known}."
    elif isinstance(reason, KeyError):
        yield f"{place} is missing. Add it; it has no default."
    elif isinstance(reason, _WrongKindError):
        yield f"{place or 'it'} {reason}"
    else:
        yield f"{place}: {reason}" if place else str(reason)


def _wrong(value: object, words: str) -> _WrongKindError:
    return _WrongKindError(f"is {_short(value)}; it must be {words}.")


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than some thousand digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


# Type of a field -> what its entry must be, in words and as a test. ``True`` is an ``int`` in Python, not here.
_PLAIN: dict[type, tuple[str, Callable[[Any], bool]]] = {
    int: ("an integer", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    float: (
        "a number, and finite",
        lambda value: isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value),
    ),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    str: ("a text that is not empty", lambda value: isinstance(value, str) and bool(value.strip())),
}


def _plain(value: object, kind: type[Any]) -> object:
    words, holds = _PLAIN[kind]
    if not holds(value):
        raise _wrong(value, words)
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


def _member(value: object, kind: type[enum.Enum]) -> enum.Enum:
    """Read a member of an enumeration from its value."""
    choices = {each.value: each for each in kind}
    if not isinstance(value, str) or value not in choices:
        raise _wrong(value, f"one of {', '.join(map(str, choices))}")
    return choices[value]


def _choice(value: object, kind: Any) -> object:
    choices = get_args(kind)
    if not isinstance(value, str) or value not in choices:
        raise _wrong(value, f"one of {', '.join(map(str, choices))}")
    return value


def _tuple(value: object, kind: Any) -> object:
    """Read ``tuple[item, ...]``, or a tuple of a fixed length, from a list."""
    *items, last = get_args(kind)
    item = items[0]
    if not isinstance(value, list):
        tables = hasattr(item, "__dataclass_fields__")
        raise _wrong(value, "an array of tables, [[...]]" if tables else "a list")
    if last is Ellipsis:
        return tuple(_CONVERTER.structure(value, list[item]))  # type: ignore[valid-type]
    if len(value) != len(items) + 1:
        raise _wrong(value, f"a list of {len(items) + 1}")
    return tuple(_CONVERTER.structure(each, inner) for each, inner in zip(value, (*items, last), strict=True))


def _any_of(value: object, kind: Any) -> object:
    """Read a union of plain kinds and None."""
    plain = [each for each in get_args(kind) if each is not NoneType]
    if (value is None and NoneType in get_args(kind)) or any(_PLAIN[each][1](value) for each in plain):
        return value
    raise _wrong(value, " or ".join(_PLAIN[each][0] for each in plain))


def _mapping(value: object, kind: Any) -> object:
    name, item = get_args(kind)
    if not isinstance(value, dict):
        raise _wrong(value, "a table of named entries")
    return _CONVERTER.structure(value, dict[name, item])  # type: ignore[valid-type]


def _dataclass(kind: type[Any]) -> Callable[[Any, Any], Any]:
    """Return what reads a dataclass; ``chosen_by`` of its own says which of its subclasses the entries are of."""
    if "chosen_by" in vars(kind):
        inner = None
    else:
        inner = make_dict_structure_fn(kind, _CONVERTER, _cattrs_forbid_extra_keys=True)

    def read(value: object, _: object) -> Any:
        if not isinstance(value, Mapping):
            raise _wrong(value, "a table of named entries")
        if inner is None:
            chosen, entries = kind.chosen_by(value)
            return _CONVERTER.structure(entries, chosen)
        return inner(dict(value), kind)

    return read


def _is_of(origin: Any, kind: Any) -> bool:
    return get_origin(kind) is origin


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the entry {', '.join(sorted({key for key in keys if keys.count(key) > 1}))} is given twice")
    return table


_CONVERTER = Converter(detailed_validation=True)
for _kind in _PLAIN:
    _CONVERTER.register_structure_hook(_kind, _plain)
_CONVERTER.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
_CONVERTER.register_structure_hook_func(lambda kind: isinstance(kind, enum.EnumType), _member)
_ORIGINS: tuple[tuple[Any, Callable[[object, Any], object]], ...] = (
    (Literal, _choice),
    (tuple, _tuple),
    (Mapping, _mapping),
    (Union, _any_of),  # float | None, too
    (UnionType, _any_of),
)
for _origin, _hook in _ORIGINS:
    _CONVERTER.register_structure_hook_func(functools.partial(_is_of, _origin), _hook)
_CONVERTER.register_structure_hook_factory(lambda kind: hasattr(kind, "__dataclass_fields__"), _dataclass)
