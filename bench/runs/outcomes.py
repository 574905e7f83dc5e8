"""What came of one requested run: a record, a failure, nothing yet, or that somebody else is at it."""

from dataclasses import dataclass

from bench.runs.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The run was started and broke; ``reason`` says how."""

    run_id: str
    cell: str
    seed: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRun:
    """The run was asked for and never finished, e.g. because of an interruption; ``reason`` says why."""

    run_id: str
    cell: str
    seed: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Another process is at the run: ``holder``. Nothing was waited for."""

    run_id: str
    holder: str


Outcome = Record | Failed | NotRun
