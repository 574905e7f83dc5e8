"""Slurm's lane, on submitit's cluster of local processes."""

import io
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from bench.errors import UsageError
from bench.lanes.options import read_options
from bench.lanes.slurm import SlurmLane
from bench.runs.attempt import Job
from bench.runs.display import shown
from bench.runs.folder import RunFolder
from bench.runs.outcomes import Failed
from bench.runs.pool import execute
from bench.runs.record import Record
from tests.unit.bench.runs import pool_jobs
from tests.unit.bench.runs.pool_jobs import a_run

pytest.importorskip("submitit", reason="the extra [slurm] is not installed")


def lane_of(folder: Path, job: Job[Path], **options: Any) -> SlurmLane[Path]:
    task = pool_jobs.a_task(folder, job)
    return SlurmLane(task, width=2, folder=folder / "jobs", options={"cluster": "local", "timeout_min": 15, **options})


def test_jobs_make_runs_and_fail_alone(tmp_path: Path) -> None:
    runs, task = [a_run(seed) for seed in range(3)], pool_jobs.a_task(tmp_path, pool_jobs.seed_1_is_killed)
    console = Console(file=io.StringIO(), width=200)
    with shown(runs, steps=lambda _: 1, jobs=2, runs_dir=tmp_path, console=console) as progress:
        lane = lane_of(tmp_path, pool_jobs.seed_1_is_killed)
        made = execute(runs, task=task, lane=lane, progress=progress)
    first, second, third = (made[run.run_id] for run in runs)
    assert isinstance(first, Record)
    assert isinstance(third, Record)
    assert first.facts["threads"] == "1"
    assert isinstance(second, Failed)
    assert "ended without a result" in second.reason


def test_a_preempted_job_writes_a_checkpoint_and_goes_on_from_it(tmp_path: Path) -> None:
    lane, home = lane_of(tmp_path, pool_jobs.count_up), RunFolder.of(tmp_path, a_run(0))
    handle = lane.hire(a_run(0))
    until(home.progress.exists)
    (job,) = psutil.Process(int(handle.number)).children()  # of the process that stands in for the cluster
    job.send_signal(signal.SIGUSR2)
    until((home.path / "checkpoint").exists)
    noted: list[str] = []
    lane.close(is_interrupted=True, hurry=lambda: False, note=noted.append)
    assert "1 jobs keep running" in noted[0]
    assert f"scancel {handle.number}" in noted[0]
    until(lambda: handle.poll() is not None)
    made = handle.poll()
    assert isinstance(made, Record), made
    starts = [int(line) for line in (home.path / "starts.txt").read_text().split()]
    assert len(starts) == 2
    assert starts[0] == 0 < starts[1] < pool_jobs.STEPS


def until(condition: Callable[[], bool]) -> None:
    assert pool_jobs.happens(condition)


def test_options_are_submitits_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="submitit refuses"):
        lane_of(tmp_path, pool_jobs.succeed, colour="red")
    with pytest.raises(UsageError, match="15 minutes at least"):
        lane_of(tmp_path, pool_jobs.succeed, cluster="slurm", timeout_min=5)
    assert read_options(None) == {}
    path = tmp_path / "lane.toml"
    path.write_text('slurm_partition = "gpu"\nwidth = 9\n')
    assert read_options(path) == {"slurm_partition": "gpu", "width": 9}
    path.write_text("width: 9")
    with pytest.raises(UsageError, match="not a readable TOML file"):
        read_options(path)
