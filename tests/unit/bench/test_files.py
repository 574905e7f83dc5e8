"""Files that are whole or not there, whenever a process or a machine ends."""

import fcntl
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import files
from bench.files import reserve, write_atomically

KILLED = """
import os, signal, sys
from pathlib import Path
from bench.files import write_atomically
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(Path(sys.argv[1]), b"half")
"""


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


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_has_half_written_goes_with_the_next_file_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stayed for ever where no run's lock is held: beside tables and pages."""
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "table.md"], cwd=files.ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = names(tmp_path)
    assert left.startswith(".table.md.")
    with monkeypatch.context() as elsewhere:  # nobody there knows whether its process has ended
        elsewhere.setattr(platform, "node", lambda: "another machine")
        write_atomically(tmp_path / "other.md", b"whole")
    assert names(tmp_path) == [left, "other.md"]
    write_atomically(tmp_path / "other.md", b"whole")
    assert names(tmp_path) == ["other.md"]


def test_nobody_takes_away_what_is_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither while it is written, nor when it is found before it is locked: then it is begun anew."""
    path, sync, lock, calls = tmp_path / "record.json", os.fsync, fcntl.flock, list[int]()

    def meanwhile(handle: int) -> None:
        monkeypatch.setattr(os, "fsync", sync)
        write_atomically(tmp_path / "other.json", b"other")
        sync(handle)

    def late(handle: int, how: int) -> None:
        calls.append(how)
        if len(calls) == 1:
            files._tidy(tmp_path)
        lock(handle, how)

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_atomically(path, b"whole")
    assert names(tmp_path) == ["other.json", "record.json"]
    monkeypatch.setattr(fcntl, "flock", late)
    write_atomically(path, b"anew")
    assert path.read_bytes() == b"anew"
    assert names(tmp_path) == ["other.json", "record.json"]
    assert calls.count(fcntl.LOCK_EX) == 2
