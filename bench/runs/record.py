"""What one run leaves behind: a JSON record, its provenance, and the digest of the code that made it."""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config.run import Run
from bench.errors import UserError
from bench.files import write_atomically
from reading import read_json, structured

SCHEMA = 1
METRICS = ("linear_top1_percent", "knn_top1_percent")  # what every run is scored by, the one that is judged first
_OF_TRANSFER = re.compile(r"(transfer_.+)_percent")  # facts of ``bench.evaluation.transfer``
WAY_OUT = "Delete it; the run is then made again."
# Facts and provenance that others compute with, where a record has them. The rest is shown or compared as it stands.
_COUNTS = (
    *("dense_macs", "gate_overhead_macs", "kept_weights", "kept_weights_target"),
    *("knn_correct", "linear_correct", "knn_correct_target", "linear_correct_target"),
    *("optimizer_steps", "prunable_weights", "samples_seen", "test_images", "train_images"),
)
_NUMBERS = (
    *("density_encoder", "density_prunable", "gate_rate", "gate_rate_target", "macs_ratio", "reduction"),
    *("reduction_asked", "reduction_target", "training_macs_ratio"),
    *("compact_macs_ratio", "compact_step_cpu_milliseconds", "masked_step_cpu_milliseconds", "train_cpu_seconds"),
)
KINDS: Mapping[str, Any] = {
    **dict.fromkeys(_COUNTS, int),
    **dict.fromkeys(_NUMBERS, float),
    **dict.fromkeys(("data_fingerprint", "env_class", "source_digest", "weights_digest"), str),
    **dict.fromkeys(("kept_per_layer", "kept_per_layer_target"), Mapping[str, int]),
    **dict.fromkeys(("gate_rate_per_layer", "gate_rate_per_layer_target"), Mapping[str, float]),
    **dict.fromkeys(("update_steps", "loss_curve"), tuple[float, ...]),
    "sources": Mapping[str, str],
}


class RecordError(UserError):
    """A record that cannot be read, or that contradicts itself."""


def seal(body: Mapping[str, object]) -> str:
    """Return the SHA-256 of a record's content, whatever its layout; the seal itself is left out.

    It finds an edit by accident or by hand. It is no signature: who recomputes it can store any number.
    """
    content = {key: value for key, value in body.items() if key != "seal"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def unsealed(body: Mapping[str, object]) -> str:
    """Return what is wrong with a record's seal; nothing if it is that of the content."""
    if "seal" not in body:
        return "it has no seal, so nothing tells whether it was edited or damaged after it was written"
    if body["seal"] != seal(body):
        return "its content does not match its seal, so it was edited or damaged after it was written"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One finished run.

    Attributes:
        run: what was run; its ``run_id`` is also the file's name.
        metrics: percentages, e.g. ``knn_top1_percent``, ``linear_top1_percent``.
        facts: exact properties: counts, densities, MACs, digests, curves.
        provenance: where, when and with which code; never compared, except ``source_digest`` and ``env_class``.
    """

    run: Run
    metrics: Mapping[str, float]
    facts: Mapping[str, object]
    provenance: Mapping[str, object]

    @property
    def run_id(self) -> str:
        """The run's name."""
        return self.run.run_id

    @property
    def text(self) -> str:
        """The record as JSON with sorted keys and a final newline."""
        body = {"schema": SCHEMA, "run_id": self.run_id} | dataclasses.asdict(self)
        return json.dumps(body, sort_keys=True, indent=1, allow_nan=False) + "\n"

    def save(self, path: Path) -> None:
        """Write the record atomically, sealed."""
        body = json.loads(self.text)
        text = json.dumps(body | {"seal": seal(body)}, sort_keys=True, indent=1, allow_nan=False) + "\n"
        write_atomically(path, text.encode())

    @classmethod
    def load(cls, path: Path) -> "Record":
        """Read a record. A knob that is younger than the record is off, its default.

        Raises:
            RecordError: the file is missing, is no record, or contradicts itself: its name is not that of its
                settings, a percentage not that of its counts, or its content not that of its seal, which it must have.
        """
        try:
            body = read_json(path)
        except ValueError as error:
            raise RecordError(f"{path}: not a readable record ({error}). {WAY_OUT}") from None
        return cls.read(body, path)

    @classmethod
    def read(cls, body: object, path: Path) -> "Record":
        """Return the record that the content of a file at ``path`` stands for.

        Raises:
            RecordError: as ``load`` does.
        """
        if not isinstance(body, dict) or body.get("schema") != SCHEMA:
            raise RecordError(f"{path}: not a record of schema {SCHEMA}. {WAY_OUT}")
        file = structured(_File, body, str(path), _unreadable)
        for name, values in (("facts", file.facts), ("provenance", file.provenance)):
            for key in KINDS.keys() & values.keys():
                structured(KINDS[key], values[key], f"{path}: {name}.{key}", _unreadable)
        record = cls(run=file.run, metrics=file.metrics, facts=file.facts, provenance=file.provenance)
        if record.run_id != file.run_id:
            raise RecordError(
                f"{path}: its settings are those of {record.run_id}, but it says {file.run_id}. {WAY_OUT}"
            )
        _check_percentages(record, path)
        broken = unsealed(body)
        if broken:
            raise RecordError(f"{path}: {broken}. {WAY_OUT}")
        return record


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """The layout of a record's file."""

    schema: int
    run_id: str
    run: Run
    metrics: Mapping[str, float]
    facts: Mapping[str, object]
    provenance: Mapping[str, object]
    seal: str | None = None


def _unreadable(message: str) -> RecordError:
    return RecordError(f"{message} {WAY_OUT}")


def _check_percentages(record: Record, path: Path) -> None:
    """Demand that each percentage, of a target and on other images too, is 100 x correct / total, by its counts.

    Raises:
        RecordError: it is not, or there are no such counts.
    """
    facts = record.facts
    claimed: list[tuple[str, object, str, str]] = [
        (f"metrics.{name}", percent, f"{name.removesuffix('_top1_percent')}_correct", "test_images")
        for name, percent in record.metrics.items()
    ]
    claimed += [
        (f"facts.{name}", facts[name], f"{match[1]}_correct", f"{match[1]}_images")
        for name, match in ((name, _OF_TRANSFER.fullmatch(name)) for name in facts)
        if match
    ]
    claimed += [  # of gates' targets; records of before 2026-11-27 have no such counts
        (f"facts.{name}_top1_percent_target", facts.get(f"{name}_top1_percent_target"), counted, "test_images")
        for name, counted in (("linear", "linear_correct_target"), ("knn", "knn_correct_target"))
        if counted in facts
    ]
    for name, percent, counted, of in claimed:
        correct, total = facts.get(counted), facts.get(of)
        if not isinstance(correct, int) or not isinstance(total, int) or not 0 <= correct <= total or not total:
            raise RecordError(
                f"{path}: {name} has no counts to bear it: facts.{counted} is {correct!r}, facts.{of} {total!r}. "
                f"{WAY_OUT}"
            )
        if not isinstance(percent, int | float) or not math.isclose(percent, 100 * correct / total, rel_tol=1e-12):
            raise RecordError(f"{path}: {name} is {percent!r}, but {counted} / {of} is {correct} / {total}. {WAY_OUT}")
