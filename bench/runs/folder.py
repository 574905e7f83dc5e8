"""The folder that a run leaves: its files, its lock, and whether it is finished."""

import contextlib
import fcntl
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.config.run import Run
from bench.provenance import source_digest
from bench.runs.record import Record, RecordError


def record_path(runs_dir: Path, run_id: str) -> Path:
    """Return where a run's record lies."""
    return runs_dir / run_id / "record.json"


def masks_path(runs_dir: Path, run_id: str) -> Path:
    """Return where a run's packed masks and gate maps lie."""
    return runs_dir / run_id / "masks.npz"


def finished(run: Run, folder: Path) -> Record | None:
    """Return the run's record if the present code made it; ``None`` if there is none or other code made it.

    Raises:
        RecordError: the record is unreadable or another run's.
    """
    path = folder / run.run_id / "record.json"
    if not path.exists():
        return None
    record = Record.load(path)
    if record.run_id != run.run_id:
        raise RecordError(f"{path}: is the record of {record.run_id}. Move it back or delete it.")
    return record if record.provenance.get("source_digest") == source_digest() else None


@contextlib.contextmanager
def lock(folder: Path, wait: Callable[[str], None]) -> Iterator[None]:
    """Hold a run's folder; the kernel lets go of it when this process ends, however it ends.

    Args:
        folder: made if it is not there.
        wait: called again and again while another process holds it, with that process's name; it sleeps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+", encoding="utf-8") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                stream.seek(0)
                wait(stream.read().strip() or "another process")
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {platform.node()}\n")
        stream.flush()
        yield


@dataclass(frozen=True, slots=True)
class Stored:
    """What a folder holds of some runs. Only ``records`` were made by the present code."""

    records: dict[str, Record]
    outdated: tuple[Run, ...]
    missing: tuple[Run, ...]


def stored(runs: Sequence[Run], folder: Path) -> Stored:
    """Sort runs into finished, to be run again because the code has changed, and to be run.

    Raises:
        RecordError: a record is unreadable or another run's.
    """
    records: dict[str, Record] = {}
    outdated: list[Run] = []
    missing: list[Run] = []
    for run in runs:
        record = finished(run, folder)
        if record is not None:
            records[run.run_id] = record
        else:
            (outdated if (folder / run.run_id / "record.json").exists() else missing).append(run)
    return Stored(records, tuple(outdated), tuple(missing))
