"""A machine from a TOML file: every entry known, every entry there."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardware.entries import HardwareError, build, mapping
from hardware.machine import Array, Caption, EnergyTable, Machine, Memory, Widths
from hardware.skipping.base import Nothing, Skipping
from hardware.skipping.blocks import Blocks
from hardware.skipping.elements import Elements
from hardware.skipping.n_of_m import NofM
from hardware.storage.formats import Bitmap, Csr, Dense, Format
from hardware.storage.grouped import BlockValues, NofMValues

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


def parse(table: object, where: str) -> Machine:
    """Return the machine that a decoded TOML file describes.

    Raises:
        HardwareError: for an unknown, missing or impossible entry; it names the key and the way out.
    """
    entries = dict(mapping(table, where))
    sections = {key: entries.pop(key, {}) for key in SECTIONS}
    ready: dict[str, Any] = {
        key: build(kind, sections[key], f"{where}: {key}")
        for key, kind in SECTIONS.items()
        if key not in {"skipping", "format"}
    }
    skipping: Skipping = _of_kind(SKIPPING, sections["skipping"], f"{where}: skipping")
    stored: Format = _of_kind(FORMATS, sections["format"], f"{where}: format")
    return build(Machine, entries, where, skipping=skipping, format=stored, **ready)


SECTIONS: dict[str, type] = {
    "array": Array,
    "memory": Memory,
    "widths": Widths,
    "skipping": Skipping,
    "format": Format,
    "energy": EnergyTable,
    "caption": Caption,
}


def load(path: Path) -> dict[str, Any]:
    """Return the decoded TOML file.

    Raises:
        HardwareError: if it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise HardwareError(f"{path}: {error}. Give the path of a machine's TOML file.") from error


def _of_kind(kinds: Mapping[str, tuple[type, dict[str, object]]], table: object, where: str) -> Any:
    entries = dict(mapping(table, where))
    kind = entries.pop("kind", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise HardwareError(f"{where}.kind is {kind!r}; choose from {', '.join(kinds)}.")
    found, ready = kinds[kind]
    return build(found, entries, where, **ready)
