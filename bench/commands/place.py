"""Where a command works, and whose images it works on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.data import dataset
from bench.data.dataset import STAND_IN, DataError
from bench.runs import job
from bench.tables import Table


class UsageError(Exception):
    """The command cannot be carried out as asked: exit code 2."""


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

    @property
    def is_cpu(self) -> bool:
        """Whether everything runs on the CPU."""
        return self.accelerator == "cpu" or (self.accelerator == "auto" and not torch.cuda.is_available())


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The data set a table really uses, and what must be said about it."""

    name: str
    banner: str = ""
    note: str = ""


def resolve_images(name: str, profile: str, place: Place) -> Images:
    """Return the table's data set; the stand-in only for smoke, and only where the real one cannot be had.

    Raises:
        DataError: broken data, or none at all for a profile that needs it.
    """
    if dataset.find(name, place.data_dir).kind != "missing":
        return Images(name=name)
    try:
        dataset.download(name, place.data_dir)
    except DataError as error:
        if profile != "smoke":
            raise
        return _stand_in_for(name, "which is neither here nor fetched", note=f"{name}: {error}")
    return Images(name=name)


def stored_images(table: Table, name: str, profile: str, seeds: Sequence[int], place: Place) -> Images:
    """Return what a table's records under ``--out`` are of, without looking for images: nothing will be trained.

    That is the stand-in where no record of the data set lies there, but some of the stand-in do: the smoke table was
    made where the images could not be had.
    """

    def has_records(images: str) -> bool:
        paths = (job.record_path(place.context.runs_dir, run.run_id) for run in table(profile, images).runs(seeds))
        return any(path.exists() for path in paths)

    if profile == "smoke" and not has_records(name) and has_records(STAND_IN):
        return _stand_in_for(name, "of which no record lies under --out")
    return Images(name=name)


def _stand_in_for(name: str, why: str, note: str = "") -> Images:
    """Return the stand-in, with its banner."""
    banner = (
        f"STAND-IN DATA: scikit-learn's handwritten digits, not {name}, {why}. "
        f"Nothing below says anything about {name}; it is judged only against the stand-in's own references."
    )
    return Images(name=STAND_IN, banner=banner, note=note)
