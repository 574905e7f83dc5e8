"""What one run leaves behind: a JSON record, its provenance, and the digest of the code that made it."""

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config.framework import FrameworkSpec
from bench.config.run import Run
from bench.errors import UserError
from bench.files import write_atomically

SCHEMA = 1


class RecordError(UserError):
    """A record that cannot be read, or that contradicts itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One finished run.

    Attributes:
        run_id: the run's name, also its file's.
        run: the run as nested plain values, all fields written out.
        metrics: percentages, e.g. ``knn_top1_percent``, ``linear_top1_percent``.
        facts: exact properties: counts, densities, MACs, digests, curves.
        provenance: where, when and with which code; never compared, except ``source_digest`` and ``env_class``.
    """

    run_id: str
    run: Mapping[str, object]
    metrics: Mapping[str, float]
    facts: Mapping[str, object]
    provenance: Mapping[str, object]

    @property
    def text(self) -> str:
        """The record as JSON with sorted keys and a final newline."""
        body = {"schema": SCHEMA} | dataclasses.asdict(self)
        return json.dumps(body, sort_keys=True, indent=1, allow_nan=False) + "\n"

    def save(self, path: Path) -> None:
        """Write the record atomically."""
        write_atomically(path, self.text.encode())

    @classmethod
    def load(cls, path: Path) -> "Record":
        """Read a record.

        Raises:
            RecordError: the file is missing, is not JSON, or lacks a field.
        """
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RecordError(
                f"{path}: not a readable record ({error}). Delete it; the run is then made again."
            ) from error
        names = [item.name for item in dataclasses.fields(cls)]
        if not isinstance(body, dict) or body.get("schema") != SCHEMA or not set(names) <= set(body):
            raise RecordError(f"{path}: not a record of schema {SCHEMA}. Delete it; the run is then made again.")
        return cls(**{name: body[name] for name in names})


def run_of(record: Record, path: Path) -> Run:
    """Return the run that a record at ``path`` is of.

    Raises:
        RecordError: it was made by code with other settings.
    """
    hints = typing.get_type_hints(Run)
    try:
        parts: dict[str, Any] = {
            name: hints[name](**value) if isinstance(value, dict) else value
            for name, value in record.run.items()
            if name != "framework"
        }
        spec, constants = FrameworkSpec.chosen_by(record.run["framework"])  # type: ignore[arg-type]
        run = Run(**(parts | {"framework": spec(**constants)}))
    except (TypeError, KeyError) as error:
        raise RecordError(f"{path}: made by other code ({error}). Delete it; the run is then made again.") from error
    if run.run_id != record.run_id:
        raise RecordError(
            f"{path}: its settings are those of {run.run_id}, but it says {record.run_id}. Delete it; the run is "
            "then made again."
        )
    return run


def plain(run: Run) -> dict[str, object]:
    """Return the run as nested plain values, defaults included."""
    return dataclasses.asdict(run)
