"""Options that commands share: where things lie, how many work, on which device."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from bench.data.cache_root import cache_root
from bench.errors import UsageError, unknown
from bench.runs.context import Context
from bench.runs.gpus import visible_gpus

if TYPE_CHECKING:
    from bench.lanes.choice import Hire
    from bench.tables import Table

ProfileName = Literal["smoke", "cpu", "gpu", "paper"]
Glob = Annotated[str, arg(metavar="PATTERN")]
TableName = Annotated[str, arg(metavar="TABLE")]
DataName = Annotated[str | None, arg(metavar="NAME|PATH", help_behavior_hint="(default: the table's own)")]


@dataclass(frozen=True, kw_only=True)
class Out:
    """Where results lie.

    Attributes:
        out: folder of runs and tables. Decoded images lie in SPARSE_SSL_CACHE, else in the user's cache folder.
    """

    out: Annotated[Path, arg(metavar="DIR")] = Path("out")

    @property
    def runs_dir(self) -> Path:
        """Holds a folder per run."""
        return self.out / "runs"

    @property
    def tables_dir(self) -> Path:
        """Holds the tables' files."""
        return self.out / "tables"

    @property
    def cache_dir(self) -> Path:
        """Holds decoded images: the user's, which all results share."""
        return cache_root()


def _named_by_the_environment() -> Path | None:
    named = os.environ.get("SPARSE_SSL_DATA")
    return Path(named) if named else None


@dataclass(frozen=True, kw_only=True)
class OutAndData(Out):
    """Where results and images lie.

    Attributes:
        data_dir: folder that holds the data sets, and into which missing ones are downloaded.
    """

    data_dir: Annotated[
        Path | None, arg(metavar="DIR", help_behavior_hint="(default: what SPARSE_SSL_DATA names, else OUT/data)")
    ] = field(default_factory=_named_by_the_environment)

    @property
    def images_dir(self) -> Path:
        """The data directory; the one under OUT is made if it is not there."""
        if self.data_dir is not None:
            return self.data_dir
        folder = self.out / "data"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@dataclass(frozen=True, kw_only=True)
class Place(OutAndData):
    """Where things lie, and what trains.

    Attributes:
        jobs: worker processes, of one thread each.
        jobs_per_gpu: worker processes that share a GPU, where there are GPUs and no --jobs.
        checkpoint_seconds: time between two checkpoints of a run; changes no number.
        restart: start a run anew if its checkpoint is damaged, instead of leaving it out.
        redo: make runs of the sizes gpu and paper again that other code has made or begun; they are refused otherwise.
        no_encoders: leave out the trained encoder, which otherwise stays beside the record of each run.
        leases: hold runs by files that are renewed every 15 s, where locks do not reach the other machines that share
            --out; all its commands follow. Used in any case where the file system has no locks.
        device: where to train: cpu, cuda, or auto for a GPU where there is one. Each job sees one GPU.
        compile: train encoders as torch.compile translates them, which takes each run minutes before its first step,
            for steps of fewer launches on a GPU. Rounding differs, so no reference is met bit for bit.
        lane: who trains: processes of this machine, jobs of a Slurm cluster, or tasks of a Ray cluster, at most --jobs
            at once.
        lane_options: TOML file with width, the runs under way at once, and for slurm what submitit takes, e.g.
            slurm_partition, gpus_per_node, timeout_min; for ray the address of the cluster ("local" starts one here)
            and what a task needs, e.g. num_cpus, num_gpus.
    """

    jobs: Annotated[
        int | None, arg(metavar="N", help_behavior_hint="(default: as many as cores, or GPUs x --jobs-per-gpu)")
    ] = None
    jobs_per_gpu: Annotated[int, arg(metavar="N")] = 1
    checkpoint_seconds: Annotated[
        float | None, arg(metavar="SECONDS", help_behavior_hint="(default: 10, on a GPU 600)")
    ] = None
    restart: bool = False
    redo: bool = False
    no_encoders: bool = False
    leases: bool = False
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    compile: bool = False
    lane: Literal["local", "slurm", "ray"] = "local"
    lane_options: Annotated[Path | None, arg(metavar="FILE.toml", help_behavior_hint="(default: none)")] = None

    def __post_init__(self) -> None:
        for option, count in (("--jobs", self.jobs), ("--jobs-per-gpu", self.jobs_per_gpu)):
            if count is not None and count < 1:
                raise UsageError(f"{option} {count}: at least one worker is needed.")
        if self.checkpoint_seconds is not None and not 0 <= self.checkpoint_seconds < math.inf:  # nan is neither
            raise UsageError(
                f"--checkpoint-seconds {self.checkpoint_seconds}: a number of seconds is needed, 0 or more; 0 writes "
                "one after every step."
            )

    @property
    def workers(self) -> int:
        """How many processes work."""
        if self.jobs is not None:
            return self.jobs
        gpus = () if self.context.is_cpu else visible_gpus()
        return len(gpus) * self.jobs_per_gpu or len(os.sched_getaffinity(0))

    @property
    def context(self) -> Context:
        """What every worker is told.

        Raises:
            UsageError: there is no such device here.
        """
        context = Context(
            runs_dir=self.runs_dir.absolute(),
            data_dir=self.images_dir.absolute(),
            cache_dir=self.cache_dir.absolute(),
            checkpoint_seconds=self.checkpoint_seconds,
            restarts=self.restart,
            keeps_encoders=not self.no_encoders,
            leases=self.leases,
            device=self.device,
            compiles=self.compile,
        )
        if self.lane == "local":  # a login node need not have what its cluster has
            context.require_device()
        return context

    @property
    def hire(self) -> "Hire":
        """What makes those who train.

        Raises:
            UsageError: the lane's options cannot be read.
        """
        from bench.lanes import choice

        if self.lane == "slurm":
            return choice.on_slurm(self.workers, folder=(self.out / "jobs").absolute(), options=self.lane_options)
        if self.lane == "ray":
            gpus = 1 / self.jobs_per_gpu if self.device == "cuda" else 0.0
            return choice.on_ray(self.jobs, gpus=gpus, options=self.lane_options)
        return choice.here(self.workers, on_gpus=not self.context.is_cpu)


def find_table(name: str) -> "Table":
    """Return a table by its name.

    Raises:
        UsageError: there is none.
    """
    from bench.tables import TABLES

    if name not in TABLES:
        raise UsageError(unknown("table", name, TABLES))
    return TABLES[name]
