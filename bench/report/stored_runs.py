"""What the stored references took: how many runs, when, on which machine, and for how long."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.judging.references import load_references, places
from bench.report.grid import Column, Grid, grid
from bench.runs.record import Record

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The references of one table at one size on one data set.

    Attributes:
        table: its name.
        size: profile and data set.
        records: at least one.
    """

    table: str
    size: str
    records: Sequence[Record]


def _days(item: Stored) -> str:
    days = sorted({str(record.provenance["started"])[: len("2026-01-31")] for record in item.records})
    return " to ".join(dict.fromkeys((days[0], days[-1])))


def _machines(item: Stored) -> str:
    """Return processor and instruction set, the first parts of the class of an environment after the architecture."""
    classes = {"/".join(str(record.provenance["env_class"]).split("/")[1:3]) for record in item.records}
    return ", ".join(sorted(classes))


def _commits(item: Stored) -> str:
    return ", ".join(sorted({str(record.provenance["git_commit"])[:7] for record in item.records}))


def _hours(item: Stored) -> float:
    return sum(float(str(record.provenance["cpu_seconds"])) for record in item.records) / SECONDS_PER_HOUR


COLUMNS: tuple[Column[Stored], ...] = (
    Column(title="table", show=lambda item: item.table),
    Column(title="size", show=lambda item: item.size),
    Column(title="runs", show=lambda item: str(len(item.records)), is_number=True),
    Column(title="seeds", show=lambda item: str(len({record.run.seed for record in item.records})), is_number=True),
    Column(title="begun", show=_days),
    Column(title="machine", show=_machines),
    Column(title="core-hours", show=lambda item: f"{_hours(item):.1f}", is_number=True),
    Column(title="commits", show=_commits),
)
LEGEND = (
    "A run that several tables share is stored, and counted here, in each. Seeds: how many different ones; a cell may "
    "have fewer. Core-hours: CPU time of the runs, one thread each."
)


def stored_runs() -> Grid:
    """Return what all stored references took, a row a table, size and data set.

    Raises:
        RecordError: one of them cannot be trusted.
    """
    rows = [
        Stored(table=name, size=f"{profile}, {data}", records=load_references(name, profile, data))
        for name, profile, data in places()
    ]
    return grid("The stored runs", COLUMNS, rows)
