"""The machines that come with the program: one TOML file each, every number with its source or as an assumption."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hardware import machine_file
from hardware.checks import HardwareError
from hardware.machine import Machine
from reading import toml

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the names of the presets."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> dict[str, Any]:
    """Return the decoded file of a preset, or of a path that ends with ``.toml``.

    Raises:
        HardwareError: if there is none.
    """
    if name.endswith(".toml"):
        return machine_file.load(Path(name))
    if name not in names():
        raise HardwareError(f"no preset {name!r}: choose from {', '.join(names())}, or give a path ending with .toml.")
    return machine_file.load(FOLDER / f"{name}.toml")


def machine(name: str, changes: Sequence[str] = ()) -> Machine:
    """Return a preset or an own machine, with some entries changed.

    Args:
        name: of a preset, or a path that ends with ``.toml``.
        changes: lines of TOML such as ``array.rows = 16`` or ``skipping = {kind = "nothing"}``.
    """
    return machine_file.parse(changed(load(name), changes), name)


def changed(table: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a decoded file with some entries replaced; only what is there can be replaced.

    Raises:
        HardwareError: if a change is no TOML, or names an entry that is not there.
    """
    result = copy.deepcopy(table)
    for change in changes:
        try:
            new = toml(change)
        except ValueError as error:
            raise HardwareError(f"{change!r}: {error}. Write for example array.rows=16.") from error
        _replace(result, new, change)
    return result


def _replace(table: dict[str, Any], new: dict[str, Any], change: str) -> None:
    for key, value in new.items():
        if key not in table:
            raise HardwareError(f"{change!r}: there is no entry {key}. Known here: {', '.join(table)}.")
        # A table with its own kind replaces the old one whole: the kinds have different entries.
        if isinstance(value, dict) and isinstance(table[key], dict) and "kind" not in value:
            _replace(table[key], value, change)
        else:
            table[key] = value
