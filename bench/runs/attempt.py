"""One attempt at a run, in whatever process: under the run's lock, or not at all. It never waits."""

import contextlib
import errno
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from bench import provenance
from bench.config.run import Run
from bench.runs.course import Teller
from bench.runs.folder import RunFolder
from bench.runs.lease import LeaseLostError
from bench.runs.outcomes import Failed, Taken
from bench.runs.record import Record
from bench.ticks import Tick

ContextT = TypeVar("ContextT")
Job = Callable[[Run, ContextT, Tick], Record]

TRAINED_ON = "data_fingerprint"  # the fact that names the images
CONTINUE = "run the same command again to continue it from its checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Generic[ContextT]):
    """What is done with each run; picklable, so that any process can do it.

    Attributes:
        job: a function found by its import path. It leaves its record in the run's folder, returns it, and calls its
            ``tick`` after every step; where ``tick`` raises ``KeyboardInterrupt``, it writes a checkpoint if its state
            is whole, and lets it pass.
        context: what every call of ``job`` is given.
        runs_dir: holds one folder per run.
        fingerprints: name of a fact -> of the images that the runs are to be made on, and of those that some of them
            are to be probed on.
        source_digest: of the code that the runs are to be made by.
    """

    job: Job[ContextT]
    context: ContextT
    runs_dir: Path
    fingerprints: Mapping[str, str]
    source_digest: str

    def answer(self, home: RunFolder) -> Record | None:
        """Return the record, if this code made it on these images.

        Raises:
            RecordError: the record is unreadable or another run's.
        """
        record = home.finished()
        return record if record is None or self.is_of_these_images(record) else None

    def is_of_these_images(self, record: Record) -> bool:
        """Return whether a record was made, and its encoder probed, on the images that are asked for."""
        compared = {TRAINED_ON, *(self.fingerprints.keys() & record.facts.keys())}  # a run may be probed on none
        return all(record.facts.get(name) == self.fingerprints[name] for name in compared)


def attempt(run: Run, task: Task[ContextT], heed: Callable[[], None]) -> Record | Failed | Taken:
    """Perform a run, take the record that answers it, or say who is at it.

    Args:
        run: the run.
        task: what to do.
        heed: raises ``KeyboardInterrupt`` if the run is to stop.

    Raises:
        KeyboardInterrupt: ``heed`` did; a checkpoint is there where one was worth writing.
    """
    home = RunFolder.of(task.runs_dir, run)
    try:
        _require_same_code(task)
        with home.held(_refuse) as require_hold:

            def heed_all() -> None:
                require_hold()
                heed()

            home.tidy()
            record = task.answer(home)
            if record is None:
                _set_aside(home, task)
                home.error.unlink(missing_ok=True)
                with Teller(home.progress, heed_all) as tick:
                    record = task.job(run, task.context, tick)
            return record
    except (_Busy, LeaseLostError) as busy:
        return Taken(run_id=run.run_id, holder=str(busy))
    except Exception as error:  # noqa: BLE001  # whatever it was, the other runs go on
        with contextlib.suppress(OSError):  # on a full disk the reason has to do
            home.error.write_text(traceback.format_exc(), encoding="utf-8")
        return Failed(run_id=run.run_id, cell=run.cell, seed=run.seed, reason=_reason(error, home))


def look(run: Run, task: Task[ContextT]) -> Record | Taken | None:
    """Return a run's record, or who is at it; ``None`` if it has to be attempted."""
    home = RunFolder.of(task.runs_dir, run)
    try:
        with home.held(_refuse):
            home.tidy()
            return task.answer(home)
    except _Busy as busy:
        return Taken(run_id=run.run_id, holder=str(busy))
    except Exception:  # noqa: BLE001  # the attempt will find the same, and say so
        return None


class _Busy(Exception):  # noqa: N818  # no error
    """Somebody else holds the lock."""


def _refuse(holder: str) -> None:
    """Do not wait for the lock."""
    raise _Busy(holder)


def _require_same_code(task: Task[ContextT]) -> None:
    """Refuse to run code that was edited after the command had started.

    Raises:
        RuntimeError: it was.
    """
    if provenance.source_digest() != task.source_digest:
        raise RuntimeError(
            "the code was edited while the command was running, and this process was born after that: its numbers "
            "would be those of other code than the rest. Start the command again"
        )


def _set_aside(home: RunFolder, task: Task[ContextT]) -> None:
    """Keep a record that was made on other images, or by other code, under another name."""
    if home.record.exists():
        record = Record.load(home.record)
        of_code = f"code-{record.provenance.get('source_digest', 'unknown')}"
        home.set_aside(of_code if task.is_of_these_images(record) else "other-data")


def _reason(error: Exception, home: RunFolder) -> str:
    """Say in one line what happened and what to do."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"the disk is full ({error.filename or home.path}). Free some space and {CONTINUE}"
    what = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {what} (traceback: {home.error})"
