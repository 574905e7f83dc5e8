"""Ray's lane, on clusters of this machine alone that end with their test."""

import contextlib
import io
import signal
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from bench.errors import UsageError
from bench.lanes.ray import RayLane, room
from bench.runs.attempt import Job
from bench.runs.display import shown
from bench.runs.folder import RunFolder
from bench.runs.outcomes import Failed
from bench.runs.pool import execute
from bench.runs.record import Record
from tests.unit.bench.runs import pool_jobs
from tests.unit.bench.runs.pool_jobs import a_run, happens

pytestmark = [
    pytest.mark.filterwarnings("default"),  # Ray's own
    pytest.mark.skipif(find_spec("ray") is None, reason="the extra [ray] is not installed"),  # to import it: seconds
]
STARTS = 3


def lane_of(folder: Path, job: Job[Path], **options: Any) -> RayLane[Path]:
    """Return the lane; Ray gives itself 30 s to start, which a busy machine may need once more."""
    options, task = {"address": "local", **options}, pool_jobs.a_task(folder, job)
    for _ in range(STARTS - 1):
        try:
            return RayLane(task, width=2, gpus=0.0, options=options)
        except UsageError as error:
            if "timed out during startup" not in str(error):
                raise
    return RayLane(task, width=2, gpus=0.0, options=options)


@contextlib.contextmanager
def nothing_stays(tmp_path: Path) -> Iterator[None]:
    """Demand that a cluster leaves no process and no file, neither in the user's home nor among temporary ones."""
    home, temporary = tmp_path / "home", Path(tempfile.mkdtemp(prefix="of-"))  # short: sockets lie in it
    home.mkdir()
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setattr("tempfile.tempdir", str(temporary))
        yield
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before
    assert not list(home.iterdir())
    temporary.rmdir()


def test_tasks_make_runs_fail_alone_and_go_on_after_a_lost_process(tmp_path: Path) -> None:
    runs, job = [a_run(seed) for seed in range(3)], pool_jobs.seed_1_dies_once_and_seed_2_always
    console = Console(file=io.StringIO(), width=200)
    showing = shown(runs, steps=lambda _: 1, jobs=2, runs_dir=tmp_path, console=console)
    with nothing_stays(tmp_path), showing as progress:
        lane = lane_of(tmp_path, job, max_retries=1)
        made = execute(runs, task=pool_jobs.a_task(tmp_path, job), lane=lane, progress=progress)
    whole, lost_once, lost = (made[run.run_id] for run in runs)
    assert isinstance(whole, Record)
    assert isinstance(lost_once, Record)
    assert (whole.facts["threads"], lost_once.facts["threads"]) == ("1", "1")
    assert whole.facts["process"] != lost_once.facts["process"]
    assert isinstance(lost, Failed)
    assert lost.reason.startswith("its task of Ray ended without a result (WorkerCrashedError: ")


def test_a_task_that_is_taken_away_goes_on_from_its_checkpoint_and_ctrl_c_leaves_none_running(tmp_path: Path) -> None:
    homes = [RunFolder.of(tmp_path, a_run(seed)) for seed in range(2)]
    noted: list[str] = []
    with nothing_stays(tmp_path):
        lane = lane_of(tmp_path, pool_jobs.count_up, num_cpus=0.1)
        first = lane.hire(a_run(0))
        assert happens(homes[0].progress.exists)
        psutil.Process(holder(homes[0])).send_signal(signal.SIGTERM)
        assert happens(lambda: first.poll() is not None)
        assert isinstance(first.poll(), Record), first.poll()
        starts = [int(line) for line in (homes[0].path / "starts.txt").read_text().split()]
        assert len(starts) == 2
        assert starts[0] == 0 < starts[1] < pool_jobs.STEPS
        second = lane.hire(a_run(1))
        assert happens(homes[1].progress.exists)
        lane.close(is_interrupted=True, hurry=lambda: False, note=noted.append)
    assert second.outcome is None
    assert (homes[1].path / "checkpoint").exists()
    assert not homes[1].is_held()
    assert noted == [
        "Interrupted: runs under way write a checkpoint, at most 60 s. Ctrl-C again ends them at once.",
    ]


def holder(home: RunFolder) -> int:
    """Return the process that is at a run."""
    return int((home.path / "lock").read_text().split()[1])


def test_a_cluster_that_is_not_there_and_options_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Ray refuses: .* address = \"local\" starts one"):
        lane_of(tmp_path, pool_jobs.succeed, address="auto")
    with pytest.raises(UsageError, match=r"Ray refuses: .*colour"):
        lane_of(tmp_path, pool_jobs.succeed, colour="red")


def test_there_is_room_on_each_machine_for_what_a_run_needs_of_everything() -> None:
    machines = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 1.0, "GPU": 4.0}},
        {"Alive": False, "Resources": {"CPU": 8.0, "GPU": 8.0}},
        {"Alive": True, "Resources": {"CPU": 64.0}},
    ]
    assert room(machines, {"num_cpus": 1, "num_gpus": 0.5}) == 4 + 1
    assert room(machines, {"num_cpus": 1, "num_gpus": 0.0}) == 8 + 1 + 64
    assert room(machines, {"num_cpus": 0, "num_gpus": 8.0}) == 0
