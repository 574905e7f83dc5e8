"""Which lane a command asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.lanes.local import LocalLane
from bench.lanes.options import read_options
from bench.lanes.ray import RayLane
from bench.lanes.slurm import SlurmLane
from bench.runs.attempt import Task
from bench.runs.gpus import visible_gpus
from bench.runs.lane import Lane

Hire = Callable[[Task[Any]], Lane]


def here(jobs: int, *, on_gpus: bool) -> Hire:
    """Return what makes worker processes of this machine: ``jobs``, who share the GPUs if they are to."""
    return lambda task: LocalLane(task, jobs=jobs, gpus=visible_gpus() if on_gpus else ())


def on_slurm(jobs: int, *, folder: Path, options: Path | None) -> Hire:
    """Return what makes jobs of a cluster: ``jobs`` at once unless the options say otherwise; logs go to ``folder``.

    Raises:
        UsageError: the options cannot be read.
    """
    given = read_options(options)
    return lambda task: SlurmLane(task, width=jobs, folder=folder, options=given)


def on_ray(jobs: int | None, *, gpus: float, options: Path | None) -> Hire:
    """Return what makes tasks of a Ray cluster, each with ``gpus`` of a GPU.

    Args:
        jobs: tasks at once, unless the options say otherwise; ``None`` for as many as there is room for.
        gpus: share of a GPU, or GPUs, that a task needs.
        options: a TOML file.

    Raises:
        UsageError: the options cannot be read.
    """
    given = read_options(options)
    return lambda task: RayLane(task, width=jobs, gpus=gpus, options=given)
