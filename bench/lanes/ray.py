"""The lane of a Ray cluster: every run is a task, which Ray places where there is a CPU, or a share of a GPU, to spare.

Ray only places: what counts is the folder of the runs, which all machines see under one name. A task whose process or
machine is lost is begun again on another one, and goes on from the run's checkpoint. Tasks end with their command.
"""

import contextlib
import functools
import math
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic

from bench.config.run import Run
from bench.errors import UsageError
from bench.files import ROOT
from bench.lanes.environment import ONE_THREAD, born_with
from bench.lanes.errand import attempt_heeding
from bench.runs.attempt import CONTINUE, ContextT, Task
from bench.runs.interrupts import Interrupted
from bench.runs.outcomes import Failed, Taken
from bench.runs.record import Record

_CANCELLED, _TAKEN_AWAY = signal.SIGINT, signal.SIGTERM
_PULSE_SECONDS = 0.2
_LOSSES = 3  # a run that kills its process would else be begun again for ever
_LEAST_OBJECT_STORE_BYTES = 80 * 2**20  # Ray's least is 75 MiB; what passes through it is a record of some kilobytes


class RayLane(Generic[ContextT]):
    """Tasks of a Ray cluster, as many at once as it has room for."""

    def __init__(
        self,
        task: Task[ContextT],
        *,
        width: int | None,
        gpus: float,
        options: Mapping[str, Any],
        grace_seconds: float = 60.0,
    ) -> None:
        """Connect to the cluster, or start one of this machine, and send nothing yet.

        Args:
            task: what every task of Ray does.
            width: runs under way at once, unless the options say otherwise; ``None`` for as many as the cluster has
                room for now.
            gpus: that a run needs; a half lets two share one. The options may say otherwise.
            options: ``width``; ``address`` of the cluster, by default the one that Ray finds, ``"local"`` to start one
                of this machine that ends with the command; and what Ray's ``remote`` takes, e.g. ``num_cpus``.
            grace_seconds: how long interrupted runs may take to write their checkpoints.

        Raises:
            UsageError: Ray is missing, or it does not take the options; there is no such cluster, or none of its
                machines ever has room for a run.
        """
        try:
            import ray  # noqa: PLC0415  # an extra, which other lanes do without
        except ImportError as error:
            raise UsageError('--lane ray needs Ray. Install it: python -m pip install -e ".[ray]"') from error
        given = {"num_cpus": 1, "num_gpus": gpus, "max_retries": _LOSSES, **options}
        self._address = str(given.pop("address", "auto"))
        wide = given.pop("width", width)
        environment = given.pop("runtime_env", {})
        # The same code as here, where the machines see it: another version may be installed.
        variables = ONE_THREAD | {"PYTHONPATH": str(ROOT)} | environment.get("env_vars", {})
        environment = {**environment, "env_vars": variables}
        self.is_here = self._address == "local"
        self._ray: Any = ray
        self._task, self._grace_seconds = task, grace_seconds
        self._jobs: list[_Job] = []
        self._connection = contextlib.ExitStack()
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self._connection.close)
            try:
                # A process for each run: an error of a GPU may stay with the process that met it.
                self._errand: Any = ray.remote(max_calls=1)(errand).options(runtime_env=environment, **given)
                self._connect()
                machines = ray.nodes()
            except Exception as error:  # Ray raises bare ones, too, e.g. where it cannot start within 30 s
                raise UsageError(
                    f"--lane ray: Ray refuses: {' '.join(str(error).split())} A cluster is named by address in "
                    'the file of --lane-options; address = "local" starts one of this machine.'
                ) from error
            self.width = int(wide) if wide is not None else room(machines, given)
            if self.width < 1:
                raise UsageError(
                    f"--lane ray: no machine of the cluster {self._address} has room for a run: num_cpus = "
                    f"{given['num_cpus']}, num_gpus = {given['num_gpus']}. Change these in the file of "
                    "--lane-options, or say there, as width, for how many runs machines that come later have room."
                )
            on_failure.pop_all()

    def _connect(self) -> None:
        """Connect, or start what is to end with the command: its processes, and their folder."""
        quiet = {"log_to_driver": False, "configure_logging": False}
        if not self.is_here:
            self._ray.init(address=self._address, **quiet)
            self._connection.callback(self._ray.shutdown)
            return
        # Not under --out: Ray's sockets lie in it, and their names have to be short.
        folder = self._connection.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
        self._connection.callback(self._ray.shutdown, wait_for_processes=True)
        # The key of this cluster stays with its processes; Ray would else write one into the user's home. Nobody is
        # told of its use.
        with born_with({"RAY_AUTH_TOKEN": _key(), "RAY_USAGE_STATS_ENABLED": "0"}):
            self._ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=_LEAST_OBJECT_STORE_BYTES,
                _temp_dir=folder,
                **quiet,
            )

    def hire(self, run: Run) -> "_Job":
        """Send a task for the run."""
        self._jobs = [job for job in self._jobs if job.outcome is None]
        job = _Job(run, self._errand.remote(run, self._task), self._ray)
        self._jobs.append(job)
        return job

    def wait(self, seconds: float) -> None:
        """Wait until a task ends."""
        under_way = self._under_way()
        if under_way:
            self._ray.wait(under_way, timeout=seconds)
        else:
            time.sleep(seconds)

    def close(self, *, is_interrupted: bool, hurry: Callable[[], bool], note: Callable[[str], None]) -> None:
        """Cancel the tasks, wait, end those that have not ended in time or when the user hurries, and disconnect."""
        with self._connection:
            under_way = self._under_way()
            if is_interrupted and under_way:
                note(
                    f"Interrupted: runs under way write a checkpoint, at most {self._grace_seconds:.0f} s. "
                    "Ctrl-C again ends them at once."
                )
            for task in under_way:
                self._ray.cancel(task)
            deadline = time.monotonic() + self._grace_seconds
            while under_way and time.monotonic() < deadline and not hurry():
                _, under_way = self._ray.wait(under_way, num_returns=len(under_way), timeout=_PULSE_SECONDS)
            for task in under_way:
                self._ray.cancel(task, force=True)
            if is_interrupted and not self.is_here:
                note(
                    f"None of these runs goes on. The Ray cluster {self._ray.get_runtime_context().gcs_address} keeps "
                    "running; `ray stop` on each of its machines ends it."
                )

    def _under_way(self) -> list[Any]:
        return [job.task for job in self._jobs if job.poll() is None]


def errand(run: Run, task: Task[ContextT]) -> Record | Failed | Taken:
    """Attempt a run; it is what Ray calls, in a process of its own.

    Raises:
        Interrupted: the task was cancelled; a checkpoint is there where one was worth writing.
    """
    try:
        return attempt_heeding(run, task, (_CANCELLED, _TAKEN_AWAY))
    except Interrupted as interrupted:
        if interrupted.number == _TAKEN_AWAY:
            os.kill(os.getpid(), signal.SIGKILL)  # Ray begins again, elsewhere, what is lost; not what ends by itself
        raise


def room(machines: Iterable[Mapping[str, Any]], needs: Mapping[str, Any]) -> int:
    """Return how many runs the machines of a cluster have room for together.

    Args:
        machines: as Ray describes them.
        needs: ``num_cpus`` and ``num_gpus`` of a run; others are not looked at.
    """
    wanted = {"CPU": float(needs["num_cpus"]), "GPU": float(needs["num_gpus"])}
    places = 0
    for machine in machines:
        has = machine["Resources"]
        most = [has.get(kind, 0.0) / amount for kind, amount in wanted.items() if amount]
        places += math.floor(min(most)) if machine["Alive"] and most else 0
    return places


@functools.cache
def _key() -> str:
    """Return the key of the clusters that this process starts; Ray remembers the first one."""
    return secrets.token_hex(32)


class _Job:
    """The handle of a run: its task.

    Attributes:
        task: what Ray knows it by.
        outcome: what came of it; ``None`` while nothing has.
    """

    def __init__(self, run: Run, task: Any, ray: Any) -> None:
        self._run, self._ray = run, ray
        self.task = task
        self.outcome: Record | Failed | Taken | None = None

    def poll(self) -> Record | Failed | Taken | None:
        """Return what the task returned, or how it ended."""
        if self.outcome is None and self._ray.wait([self.task], timeout=0)[0]:
            try:
                self.outcome = self._ray.get(self.task)
            except self._ray.exceptions.RayError as error:
                what = (str(error).strip().splitlines() or ["no message"])[0]
                reason = f"its task of Ray ended without a result ({type(error).__name__}: {what}); {CONTINUE}"
                self.outcome = Failed(run_id=self._run.run_id, cell=self._run.cell, seed=self._run.seed, reason=reason)
        return self.outcome
