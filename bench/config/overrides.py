"""Other settings than a profile's, as texts: ``optimizer.learning_rate=0.1`` changes that field of a run."""

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from bench.config.run import Run
from bench.errors import RunError, unknown

Changes = Mapping[str, str]  # key -> value, as texts
NAMED_ELSEWHERE = {
    "data.name": "with --data",
    "framework.name": "by the cell's name",
    "sparsity.granularity": "by the cell's name",
    "sparsity.method": "by the cell's name",
}
OPTIONS = "sparsity.options"  # OPTIONS.NAME is a parameter of the method's own, which the method checks
COMPACT = "sparsity.compact_training"  # of a table, those rows take it that can
NOTHING = "none"  # the text of None


def split(assignment: str) -> tuple[str, str]:
    """Return the key and the value of ``KEY=VALUE``.

    Raises:
        RunError: it has another form.
    """
    key, sign, value = (part.strip() for part in assignment.partition("="))
    if not (key and sign and value):
        raise RunError(f"setting {assignment!r}: it reads KEY=VALUE, e.g. optimizer.learning_rate=0.1.")
    return key, value


def collected(assignments: Sequence[str]) -> dict[str, str]:
    """Return settings by key.

    Raises:
        RunError: one has another form, or a key appears twice.
    """
    changes: dict[str, str] = {}
    for key, value in map(split, assignments):
        if key in changes:
            raise RunError(f"setting {key}: given twice, as {changes[key]} and as {value}. Leave one out.")
        changes[key] = value
    return changes


def changed(run: Run, changes: Changes) -> Run:
    """Return the run with other settings, each read by the type of its field, all at once: some need one another.

    Raises:
        RunError: there is no such setting, it is named elsewhere, the value does not suit it, or the run cannot be so.
    """
    types_of = {key: hint for key, _, hint in _leaves(run, "")}
    values = {}
    for key, text in changes.items():
        if key.startswith(f"{OPTIONS}."):
            types_of[key] = float | str
        if key not in types_of:
            raise RunError(unknown("setting", key, types_of))
        if key in NAMED_ELSEWHERE:
            raise RunError(f"setting {key}: it is named {NAMED_ELSEWHERE[key]}, as other settings depend on it.")
        try:
            values[key] = _read(text, types_of[key])
        except ValueError:
            raise RunError(f"setting {key}: {text!r} is not {_described(types_of[key])}.") from None
    rebuilt: Run = _rebuilt(run, "", values)
    return rebuilt


def settings(run: Run) -> dict[str, object]:
    """Return every setting of a run by its dotted path, e.g. ``optimizer.learning_rate``."""
    return {key: value for key, value, _ in _leaves(run, "")}


def differences(before: Run, after: Run) -> dict[str, tuple[object, object]]:
    """Return the settings that differ, with both values: None where a run lacks it."""
    old, new = settings(before), settings(after)
    return {key: (old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)}


def text_of(value: object) -> str:
    """Return a value as ``changed`` reads it."""
    return NOTHING if value is None else str(value)


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, object, Any]]:
    """Yield (dotted path, value, type) of every field that is no dataclass itself."""
    hints = typing.get_type_hints(type(value))
    for item in dataclasses.fields(value):
        entry = getattr(value, item.name)
        if dataclasses.is_dataclass(entry):
            yield from _leaves(entry, f"{prefix}{item.name}.")
        elif f"{prefix}{item.name}" == OPTIONS:
            yield from ((f"{OPTIONS}.{name}", given, float | str) for name, given in entry)
        else:
            yield f"{prefix}{item.name}", entry, hints[item.name]


def _rebuilt(value: Any, prefix: str, values: Mapping[str, object]) -> Any:
    """Return a nested dataclass with the leaves that ``values`` names by their dotted paths."""
    replaced = {}
    for item in dataclasses.fields(value):
        path, entry = f"{prefix}{item.name}", getattr(value, item.name)
        if dataclasses.is_dataclass(entry):
            replaced[item.name] = _rebuilt(entry, f"{path}.", values)
        elif path == OPTIONS:
            given = {key.removeprefix(f"{OPTIONS}."): each for key, each in values.items() if key.startswith(OPTIONS)}
            replaced[item.name] = tuple(sorted({**dict(entry), **given}.items()))
        elif path in values:
            replaced[item.name] = values[path]
    return dataclasses.replace(value, **replaced) if replaced else value


def _read(text: str, hint: Any) -> object:
    """Read a text by a type.

    Raises:
        ValueError: it is no value of that type.
    """
    origin, kinds = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        if text.lower() == NOTHING and types.NoneType in kinds:
            return None
        for kind in (each for each in kinds if each is not types.NoneType):
            try:
                return _read(text, kind)
            except ValueError:
                continue
        raise ValueError(text)
    if origin is Literal:
        if text not in kinds:
            raise ValueError(text)
        return text
    if hint is bool:
        return {"true": True, "false": False}[text.lower()] if text.lower() in {"true", "false"} else _refuse(text)
    if hint is float:
        number = float(text)
        return number if math.isfinite(number) else _refuse(text)
    if hint in {int, str}:
        return hint(text)
    raise TypeError(f"no text is read as {hint}: teach bench.config.overrides.")


def _refuse(text: str) -> typing.NoReturn:
    raise ValueError(text)


def _described(hint: Any) -> str:
    """Say in words what a type takes."""
    origin, kinds = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return " or ".join(NOTHING if kind is types.NoneType else _described(kind) for kind in kinds)
    if origin is Literal:
        return f"one of {', '.join(kinds)}"
    words = {bool: "true or false", float: "a finite number", int: "a whole number", str: "a text"}
    return words[hint]
