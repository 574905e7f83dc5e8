"""The lane of a Slurm cluster: every run is a job of its queue, which submitit writes, sends and asks about.

A job that the cluster takes away (SIGUSR2, ahead of the time limit or a pre-emption) ends its step, writes a checkpoint
and goes back into the queue, where it continues. Jobs outlive the command that sent them: nothing but the folder of the
runs ties them to it.
"""

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic

from bench.config.run import Run
from bench.errors import UsageError
from bench.lanes.environment import ONE_THREAD, born_with
from bench.lanes.errand import attempt_heeding
from bench.runs.attempt import CONTINUE, ContextT, Task
from bench.runs.interrupts import Interrupted
from bench.runs.outcomes import Failed, Taken
from bench.runs.record import Record

_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)  # by which clusters, and submitit, say that time is up
_LEAST_MINUTES = 15  # below that a job would hardly do more than start, and write checkpoints
_MOST_REQUEUES = 1000
_PATIENCE_SECONDS = 10.0  # a result may be late on a network file system
_DEFAULTS = {"timeout_min": 240}
_SLURM_DEFAULTS = {"name": "sparse-ssl-bench", "cpus_per_task": 1, "slurm_signal_delay_s": 120}


class SlurmLane(Generic[ContextT]):
    """Jobs of a cluster, at most ``width`` at once."""

    is_here = False

    def __init__(self, task: Task[ContextT], *, width: int, folder: Path, options: Mapping[str, Any]) -> None:
        """Send nothing yet.

        Args:
            task: what every job does.
            width: jobs in the queue at once, unless the options say otherwise.
            folder: gets what submitit leaves: scripts, logs, results. All machines see it under this name.
            options: ``width``, and what submitit's ``AutoExecutor.update_parameters`` takes. ``cluster = "local"``
                makes processes of this machine behave as jobs.

        Raises:
            UsageError: submitit is missing, or does not take the options.
        """
        try:
            import submitit  # noqa: PLC0415  # an extra
        except ImportError as error:
            raise UsageError('--lane slurm needs submitit. Install it: python -m pip install -e ".[slurm]"') from error
        cluster = options.get("cluster", "slurm")
        given = {**_DEFAULTS, **(_SLURM_DEFAULTS if cluster == "slurm" else {}), **options}
        given.pop("cluster", None)
        self.width = int(given.pop("width", width))
        if cluster == "slurm" and given["timeout_min"] < _LEAST_MINUTES:
            raise UsageError(
                f"--lane-options: timeout_min = {given['timeout_min']}: a job needs {_LEAST_MINUTES} minutes at least, "
                "or it would do little more than start and write a checkpoint."
            )
        try:
            # A run may need many time limits, one after the other: each goes on where the last one stopped.
            requeues = {f"{cluster}_max_num_timeout": _MOST_REQUEUES}
            self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **requeues)
            self._executor.update_parameters(**given)
        except (RuntimeError, ValueError, NameError, TypeError) as error:
            raise UsageError(f"--lane slurm: submitit refuses: {' '.join(str(error).split())}") from error
        self._task, self._folder = task, folder
        self._jobs: list[_Job] = []

    def hire(self, run: Run) -> "_Job":
        """Send a job for the run."""
        with born_with(ONE_THREAD):  # the queue hands this environment on
            job = _Job(run, self._executor.submit(Errand(run, self._task)), self._folder)
        self._jobs.append(job)
        return job

    def wait(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def close(self, *, is_interrupted: bool, hurry: Callable[[], bool], note: Callable[[str], None]) -> None:  # noqa: ARG002  # local lanes hurry
        """Leave the jobs to the cluster, and say how to stop them."""
        jobs = [job.number for job in self._jobs if job.poll() is None]
        if is_interrupted and jobs:
            note(
                f"{len(jobs)} jobs keep running; the same command again follows them. To stop them, each with a "
                f"checkpoint: scancel {' '.join(jobs)}"
            )


class Errand(Generic[ContextT]):
    """What a job does: one attempt at a run. submitit calls it, and asks ``checkpoint`` what to do after a requeue."""

    def __init__(self, run: Run, task: Task[ContextT]) -> None:
        """Take the run."""
        self._run, self._task = run, task

    def __call__(self) -> Record | Failed | Taken:
        """Attempt the run; told to stop, end the step, write a checkpoint, and let submitit act on the signal."""
        try:
            return attempt_heeding(self._run, self._task, _SIGNALS)
        except Interrupted as interrupted:
            number = interrupted.number
        signal.raise_signal(number)  # after SIGUSR2, submitit requeues the job and ends this process
        run = self._run
        return Failed(run_id=run.run_id, cell=run.cell, seed=run.seed, reason=f"its job was stopped; {CONTINUE}")

    def checkpoint(self) -> Any:
        """Return what the requeued job does: the same, from the run's checkpoint on."""
        from submitit.helpers import DelayedSubmission  # noqa: PLC0415  # an extra

        return DelayedSubmission(Errand(self._run, self._task))


class _Job:
    """The handle of a run: its job."""

    def __init__(self, run: Run, job: Any, folder: Path) -> None:
        self._run, self._job, self._folder = run, job, folder
        self._ended_at: float | None = None

    @property
    def number(self) -> str:
        """The job's number in the queue."""
        return str(self._job.job_id)

    def poll(self) -> Record | Failed | Taken | None:
        """Return what the job returned, or how it ended. Never waits, as submitit itself would for a late result."""
        if not self._job.done():
            return None
        if not self._job.paths.result_pickle.exists():
            now = time.monotonic()
            self._ended_at = now if self._ended_at is None else self._ended_at
            return self._failed(str(self._job.state)) if now - self._ended_at > _PATIENCE_SECONDS else None
        error = self._job.exception()
        if error is not None:
            return self._failed((str(error).strip().splitlines() or ["no message"])[-1])
        outcome: Record | Failed | Taken = self._job.result()
        return outcome

    def _failed(self, what: str) -> Failed:
        run = self._run
        reason = f"its job {self.number} ended without a result ({what}; logs: {self._folder}); {CONTINUE}"
        return Failed(run_id=run.run_id, cell=run.cell, seed=run.seed, reason=reason)
