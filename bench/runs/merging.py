"""The finished runs of several folders in one: what machines without a shared folder put together in the end."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError
from bench.runs import lease
from bench.runs.folder import RunFolder
from bench.runs.record import Record
from bench.sources import states

_NOT_COPIED = {"lock", "checkpoint.pt", "progress.json", "error.txt"}  # of whoever is at a run, not of what it left


class MergeError(UserError):
    """Two folders contradict each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge did.

    Attributes:
        copied: runs that are new in the folder.
        repeated: runs of which it had the same numbers; it keeps its own.
        unfinished: runs without a record, left where they are.
        source_digests: of each state of the code that made the records.
    """

    copied: tuple[str, ...]
    repeated: tuple[str, ...]
    unfinished: tuple[str, ...]
    source_digests: frozenset[str]


def merge(sources: Sequence[Path], target: Path) -> Merged:
    """Copy the finished runs of some folders into another one; nothing is copied where two contradict each other.

    Args:
        sources: each holds one folder per run.
        target: gets them; made if it is not there.

    Raises:
        MergeError: a run lies in two folders with different numbers, or its masks or encoder are not its record's.
        RecordError: a record is unreadable or another run's.
    """
    chosen: dict[str, tuple[RunFolder, Record]] = {}
    repeated: dict[str, None] = {}
    for runs_dir in (target, *sources):
        for folder in RunFolder.recorded(runs_dir):
            record = folder.checked_record()
            known = chosen.setdefault(record.run_id, (folder, record))
            if known[0] != folder:
                _require_same_numbers(known, (folder, record))
                repeated[record.run_id] = None
    new = {run_id: folder for run_id, (folder, _) in chosen.items() if folder.path.parent != target}
    for run_id, folder in new.items():
        _require_whole(folder, chosen[run_id][1])
    for run_id, folder in new.items():
        _copy(folder, RunFolder(target / run_id))
    begun = {path.name for runs_dir in sources for path in runs_dir.iterdir() if path.is_dir()}
    return Merged(
        copied=tuple(new),
        repeated=tuple(repeated),
        unfinished=tuple(sorted(begun - chosen.keys())),
        source_digests=states(record.provenance for _, record in chosen.values()),
    )


def _require_same_numbers(first: tuple[RunFolder, Record], second: tuple[RunFolder, Record]) -> None:
    """Demand that a run that was made twice came out the same.

    Raises:
        MergeError: it did not.
    """
    if (first[1].metrics, first[1].facts) != (second[1].metrics, second[1].facts):
        raise MergeError(
            f"{first[1].run_id}: {first[0].path} and {second[0].path} hold different numbers of the same run. Nothing "
            "was copied. Other code, images or machines made one of them: decide which one counts, and move the other "
            "one away."
        )


def _require_whole(folder: RunFolder, record: Record) -> None:
    """Demand that masks and encoder are those that the record speaks of, before damage spreads.

    Raises:
        MergeError: they are not.
    """
    for path, name in ((folder.masks, "masks_sha256"), (folder.encoder, "encoder_sha256")):
        expected = record.provenance.get(name)
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing"
        if expected not in (None, found):
            raise MergeError(
                f"{path}: is not the file that its record speaks of ({name}). Nothing was copied. Delete its folder: "
                "the run is then made again."
            )


def _copy(source: RunFolder, target: RunFolder) -> None:
    """Copy what a finished run left; the record last, so that a folder with a record is complete."""
    with target.held(_refuse):
        files = {path for path in source.path.iterdir() if path.is_file() and not path.name.startswith(".")}
        for path in sorted(files - {*lease.files(source.path)}, key=lambda path: path == source.record):
            if path.name not in _NOT_COPIED:
                partial = target.path / f".{path.name}.{os.getpid()}"
                shutil.copyfile(path, partial)
                partial.replace(target.path / path.name)


def _refuse(holder: str) -> None:
    raise MergeError(f"{holder} is at a run of the folder into which others are to be copied. Wait until it is done.")
