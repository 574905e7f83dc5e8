"""Where a command works: folders, workers, device."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.errors import UsageError
from bench.runs import job
from bench.tables import TABLES, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where things lie and how many work.

    Attributes:
        out: runs, cache and tables go here.
        data_dir: where the images lie, and where missing ones are downloaded to.
        jobs: one-thread worker processes.
        checkpoint_seconds: between two checkpoints of a run.
        accelerator: ``cpu``, ``cuda`` or ``auto``; the jobs share it.
    """

    out: Path
    data_dir: Path
    jobs: int
    checkpoint_seconds: float
    accelerator: str

    @property
    def context(self) -> job.Context:
        """What every worker is told."""
        return job.Context(
            runs_dir=self.out / "runs",
            data_dir=self.data_dir,
            cache_dir=self.out / "cache",
            checkpoint_seconds=self.checkpoint_seconds,
            accelerator=self.accelerator,
        )


def find_table(name: str) -> Table:
    """Return a table by its name.

    Raises:
        UsageError: there is none.
    """
    if name not in TABLES:
        raise UsageError(f"table {name!r} is unknown. Choose from {', '.join(TABLES)}.")
    return TABLES[name]


ProfileName = Literal["smoke", "cpu", "paper"]


def _data_dir() -> Path | None:
    named = os.environ.get("SPARSE_SSL_DATA")
    return Path(named) if named else None


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things lie.

    Attributes:
        data_dir: folder that holds the data sets; the environment's SPARSE_SSL_DATA unless given, else OUT/data.
        out: folder for runs, cache and tables.
        jobs: one-thread worker processes; as many as cores unless given.
        checkpoint_seconds: between two checkpoints of a run; changes no number.
        accelerator: where to train; the jobs share it.
    """

    data_dir: Path | None = field(default_factory=_data_dir)
    out: Path = Path("out")
    jobs: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    checkpoint_seconds: float = 10.0
    accelerator: Literal["cpu", "cuda", "auto"] = "cpu"

    @property
    def place(self) -> Place:
        """The same as the commands want it."""
        if self.jobs < 1:
            raise UsageError(f"--jobs {self.jobs}: at least one worker is needed.")
        out = self.out.resolve()
        if self.data_dir is None:
            (out / "data").mkdir(parents=True, exist_ok=True)
        return Place(
            out=out,
            data_dir=self.data_dir or out / "data",
            jobs=self.jobs,
            checkpoint_seconds=self.checkpoint_seconds,
            accelerator=self.accelerator,
        )
