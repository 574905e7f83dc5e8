"""Whatever stands in a file of settings, it is a value or a settings error, and never another exception: S1, S2."""

import copy
import json
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judging.claims import CLAIMS, load_claims
from bench.judging.settings import SettingsError
from bench.judging.tolerances import TOLERANCES, load_tolerances
from bench.speedup import ratios
from hardware import presets
from hardware.checks import HardwareError

Entry = Any
LOADERS: dict[str, tuple[Path, Callable[[Path], object], type[Exception]]] = {
    "claims": (CLAIMS / "structured.toml", lambda path: load_claims(path.stem, path.parent), SettingsError),
    "ratios": (ratios.FILE, ratios.load, SettingsError),
    "tolerances": (TOLERANCES, lambda path: load_tolerances("cifar10", "smoke", "cifar10", path), SettingsError),
    "machine": (presets.FOLDER / "nm_core.toml", lambda path: presets.machine(str(path)), HardwareError),
}
letters = st.text(alphabet="ab*/[]?é\n\"'\\ {}", max_size=8)
numbers = st.integers() | st.floats() | st.sampled_from([-1, 0, 1, 2, 10**400])
entries = st.recursive(
    st.booleans() | numbers | letters,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(letters, inner, max_size=3),
    max_leaves=5,
)


def written(value: Entry) -> str:
    """Return a value as TOML, in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # nan, inf, -inf
    return hex(value) if type(value) is int and value > 10**300 else json.dumps(value)


def places(value: Entry, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every entry."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from places(each, (*path, key))


@pytest.mark.parametrize("name", LOADERS)
@given(data=st.data())
def test_any_entry_is_a_value_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    stored, load, error = LOADERS[name]
    table: Entry = tomllib.loads(stored.read_text())
    *outer, last = data.draw(st.sampled_from(list(places(table))))
    place = table
    for key in outer:
        place = place[key]
    match data.draw(st.sampled_from(["replaced", "removed", "repeated", "added"])):
        case "removed":
            del place[last]
        case "repeated" if isinstance(place, list):
            place.append(copy.deepcopy(place[int(last)]))
        case "added" if isinstance(place, dict):
            place[data.draw(letters)] = data.draw(entries)
        case _:
            place[last] = data.draw(entries)
    path = tmp_path_factory.mktemp("any") / stored.name
    path.write_text("\n".join(f"{json.dumps(key)} = {written(each)}" for key, each in table.items()), encoding="utf-8")
    try:
        load(path)
    except error as refused:
        assert stored.stem in str(refused)  # noqa: PT017  # or it is a value: nothing else may be raised


@pytest.mark.parametrize("name", LOADERS)
@given(payload=st.binary(max_size=40) | st.text(alphabet="[]{}=\"'.,:0e9-naif\n", max_size=30).map(str.encode))
def test_any_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, name: str, payload: bytes) -> None:
    stored, load, error = LOADERS[name]
    path = tmp_path_factory.mktemp("any") / stored.name
    path.write_bytes(payload)
    with pytest.raises(error, match=stored.stem):
        load(path)


@pytest.mark.parametrize("name", LOADERS)
def test_what_is_no_file_or_nested_too_deeply_is_refused(tmp_path: Path, name: str) -> None:
    stored, load, error = LOADERS[name]
    path = tmp_path / stored.name
    with pytest.raises(error, match="not a readable TOML file"):
        load(path)
    path.write_text("a = " + "[" * 100_000)
    with pytest.raises(error, match="not a readable TOML file"):
        load(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(error, match="not a readable TOML file"):
        load(path)


@pytest.mark.parametrize("name", LOADERS)
def test_numbers_that_python_does_not_write_are_refused(tmp_path: Path, name: str) -> None:
    stored, load, error = LOADERS[name]
    path = tmp_path / stored.name
    path.write_text(re.sub(r"= [0-9.]+", f"= 0x{'f' * 6_000}", stored.read_text()))
    with pytest.raises(error, match="is a number of thousands of digits; it must be a number, and finite"):
        load(path)


@pytest.mark.parametrize("name", LOADERS)
def test_the_stored_files_survive_being_written_in_one_line(tmp_path: Path, name: str) -> None:
    """The writer above writes what was meant, else the tests above would test nothing."""
    stored, load, _ = LOADERS[name]
    path = tmp_path / stored.name
    table = tomllib.loads(stored.read_text())
    path.write_text("\n".join(f"{json.dumps(key)} = {written(each)}" for key, each in table.items()), encoding="utf-8")
    assert load(path) == load(stored)
