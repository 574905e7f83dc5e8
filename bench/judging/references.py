"""Our own stored runs: read, checked against their seal, and written by ``nox -s record`` alone.

What is trusted: the references, as version control holds them; their seal finds an edit by accident. A user's records
are the user's own: they are checked against themselves (types, the name, percentages against counts) and against the
references (exact facts; a fresh seed has weights of its own), so that a slip or a mixed-up folder is found. Whoever
forges all of a record can print any number, and deceives nobody but who trusts that computer.
"""

import json
from collections.abc import Collection
from pathlib import Path

from bench.files import ROOT, write_atomically
from bench.runs.record import Record, RecordError, seal
from reading import read_json

REFERENCES = ROOT / "results" / "references"
FIRST_USER_SEED = 100  # references take the seeds below


def reference_path(root: Path, table: str, profile: str, run_id: str, data: str) -> Path:
    """Return where a reference lies: ``TABLE/PROFILE/DATA/RUN_ID.json``."""
    return root / table / profile / data / f"{run_id}.json"


def save_reference(root: Path, table: str, profile: str, data: str, record: Record) -> Path:
    """Store a finished run as a reference, sealed; return its path.

    Raises:
        RecordError: the seed belongs to users' runs.
    """
    if record.run.seed >= FIRST_USER_SEED:
        raise RecordError(
            f"{record.run_id}: seed {record.run.seed} cannot be a reference. References take seeds 0 to "
            f"{FIRST_USER_SEED - 1}, so that a user's runs are fresh."
        )
    body = json.loads(record.text)
    path = reference_path(root, table, profile, record.run_id, data)
    text = json.dumps(body | {"seal": seal(body)}, sort_keys=True, indent=1, allow_nan=False) + "\n"
    write_atomically(path, text.encode())
    return path


def load_reference(path: Path) -> Record:
    """Read one reference.

    Raises:
        RecordError: the file is unreadable, lies under another name, is of other data, or was edited.
    """
    try:
        body = read_json(path)
    except ValueError as error:
        raise RecordError(f"{path}: not a readable reference ({error}). Restore it from version control.") from None
    if not isinstance(body, dict) or body.get("seal") != seal(body):
        raise RecordError(
            f"{path}: the content does not match its seal, so the file was edited. References change only "
            "through `nox -s record`; restore this one from version control."
        )
    record = Record.read(body, path)
    if path.stem != record.run_id or path.parent.name != record.run.data.name:
        raise RecordError(
            f"{path}: holds {record.run_id} on {record.run.data.name}. A reference lies at "
            "TABLE/PROFILE/DATA/RUN_ID.json; restore it from version control."
        )
    return record


def places(root: Path = REFERENCES) -> tuple[tuple[str, str, str], ...]:
    """Return (table, profile, data set) of all tables that have references, in the order of their names."""
    folders = {path.parent for path in root.glob("*/*/*/*.json")}
    return tuple(sorted((each.parts[-3], each.parts[-2], each.parts[-1]) for each in folders))


def load_references(table: str, profile: str, data: str, root: Path = REFERENCES) -> tuple[Record, ...]:
    """Read all references of a table, in the order of their names; none where none were stored.

    Raises:
        RecordError: one of them cannot be trusted.
    """
    return tuple(map(load_reference, sorted((root / table / profile / data).glob("*.json"))))


def take_over(root: Path, table: str, profile: str, data: str, wanted: Collection[str]) -> dict[str, Record]:
    """Store in a table what other tables of its size and data set have stored of the runs that it wants.

    The same run may stand in several tables. Files are copied as they are: written anew, one of before a setting was
    added would name the setting, under another seal.

    Args:
        root: of all references.
        table: whose references they become.
        profile: its size.
        data: its data set.
        wanted: names of runs.

    Returns:
        by name, those that are stored there now.

    Raises:
        RecordError: a reference that is wanted cannot be trusted, or has other numbers in another table.
    """
    stored: dict[str, tuple[Path, Record]] = {}
    for path in sorted(root.glob(f"*/{profile}/{data}/*.json")):
        if path.stem in wanted:
            record = load_reference(path)
            first, known = stored.setdefault(path.stem, (path, record))
            if (known.metrics, known.facts) != (record.metrics, record.facts):
                raise RecordError(
                    f"{first} and {path} hold different numbers of one run. Machines of two kinds made them, or two "
                    "states of the code: copy the one that is to count over the other."
                )
    for run_id, (path, _) in stored.items():
        here = reference_path(root, table, profile, run_id, data)
        if not here.exists():
            write_atomically(here, path.read_bytes())
    return {run_id: record for run_id, (_, record) in stored.items()}
