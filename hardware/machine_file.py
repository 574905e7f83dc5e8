"""A machine from a TOML file: every entry known, every entry there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hardware.checks import HardwareError
from hardware.machine import Array, Caption, EnergyTable, Machine, Memory, Widths
from hardware.skipping.base import Nothing, Skipping
from hardware.skipping.blocks import Blocks
from hardware.skipping.elements import Elements
from hardware.skipping.n_of_m import NofM
from hardware.storage.formats import Bitmap, Csr, Dense, Format
from hardware.storage.grouped import BlockValues, NofMValues
from reading import structured, toml_entries

Kind = TypeVar("Kind")
# kind in the file -> the class, whose fields are the other entries, and what the kind itself says
SKIPPING: dict[str, tuple[type[Skipping], dict[str, object]]] = {
    "nothing": (Nothing, {}),
    "block": (Blocks, {}),
    "n_of_m": (NofM, {}),
    "element": (Elements, {}),
}
FORMATS: dict[str, tuple[type[Format], dict[str, object]]] = {
    "dense": (Dense, {}),
    "bitmap": (Bitmap, {}),
    "csr": (Csr, {"is_transposed": False}),
    "csc": (Csr, {"is_transposed": True}),
    "n_of_m": (NofMValues, {"is_mixed": False}),
    "n_of_m_mixed": (NofMValues, {"is_mixed": True}),
    "block": (BlockValues, {}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """The layout of the file: a machine, whose skipping and storage are each of a kind with entries of its own."""

    name: str
    array: Array
    memory: Memory
    widths: Widths
    skipping: Mapping[str, object]
    format: Mapping[str, object]
    energy: EnergyTable
    caption: Caption


def parse(table: object, where: str) -> Machine:
    """Return the machine that a decoded TOML file describes.

    Raises:
        HardwareError: for an unknown, missing or impossible entry; it names the key and the way out.
    """
    file = structured(_File, table, where, HardwareError)
    skipping = _of_kind(SKIPPING, file.skipping, f"{where}: skipping")
    stored = _of_kind(FORMATS, file.format, f"{where}: format")
    try:
        return Machine(
            name=file.name,
            array=file.array,
            memory=file.memory,
            widths=file.widths,
            skipping=skipping,
            format=stored,
            energy=file.energy,
            caption=file.caption,
        )
    except ValueError as error:
        raise HardwareError(f"{where}: {error}") from error


def load(path: Path) -> dict[str, Any]:
    """Return the decoded TOML file.

    Raises:
        HardwareError: if it cannot be read.
    """
    return toml_entries(path, lambda message: HardwareError(f"{message} Give the path of a machine's TOML file."))


def _of_kind(
    kinds: Mapping[str, tuple[type[Kind], dict[str, object]]], entries: Mapping[str, object], where: str
) -> Kind:
    kind = entries.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise HardwareError(f"{where}.kind is {kind!r}; choose from {', '.join(kinds)}.")
    found, said = kinds[kind]
    own = {key: value for key, value in entries.items() if key != "kind"}
    if repeated := sorted(own.keys() & said.keys()):
        raise HardwareError(f"{where}: {', '.join(repeated)} is said by kind {kind!r} itself. Remove it.")
    return structured(found, own | said, where, HardwareError)
