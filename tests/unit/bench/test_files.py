"""Files that are whole or not there, whenever a process or a machine ends."""

import os
from pathlib import Path

import pytest

from bench.files import reserve, write_atomically


def test_a_file_is_on_the_disk_before_it_takes_its_name_and_its_name_before_anybody_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, moments = tmp_path / "record.json", list[str]()
    sync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        place = Path(f"/proc/self/fd/{handle}").readlink()
        moments.append("folder" if place == tmp_path else f"{place.stat().st_size} bytes")
        sync(handle)

    def replaced(self: Path, target: Path) -> Path:
        assert self.parent == target.parent == tmp_path
        moments.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    write_atomically(path, b"whole")
    assert moments == ["5 bytes", "name", "folder"]
    assert path.read_bytes() == b"whole"


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        assert path.read_bytes() == b"old"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["record.json"]


def test_a_file_has_its_room_before_it_is_mapped(tmp_path: Path) -> None:
    reserve(tmp_path / "file", 1_000_000)
    facts = (tmp_path / "file").stat()
    assert facts.st_size == 1_000_000
    assert facts.st_blocks * 512 >= 1_000_000
