"""The folder that a run leaves: its files, its lock, and whether it is finished."""

import contextlib
import errno
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from bench.config import code
from bench.config.run import Run
from bench.runs import lease
from bench.runs.lease import Lease
from bench.runs.record import Record, RecordError

NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK})  # what a file system without locks answers


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where everything of one run lies. Nothing else knows the names of the files.

    Attributes:
        path: ``RUNS_DIR/RUN_ID``; need not be there.
    """

    path: Path

    @classmethod
    def of(cls, runs_dir: Path, run: Run) -> "RunFolder":
        """Return the folder of a run."""
        return cls(runs_dir / run.run_id)

    @classmethod
    def recorded(cls, runs_dir: Path) -> tuple["RunFolder", ...]:
        """Return all folders that hold a record, in the order of their names."""
        return tuple(cls(path.parent) for path in sorted(runs_dir.glob("*/record.json")))

    @property
    def record(self) -> Path:
        """The record; written last, so that a folder with a record is complete."""
        return self.path / "record.json"

    @property
    def masks(self) -> Path:
        """Packed masks and gate maps."""
        return self.path / "masks.npz"

    @property
    def encoder(self) -> Path:
        """The trained encoder, unless it was left out."""
        return self.path / "encoder.safetensors"

    @property
    def checkpoint(self) -> Path:
        """All that a run needs to go on; gone once it is finished."""
        return self.path / "checkpoint.pt"

    @property
    def error(self) -> Path:
        """The traceback of the last failure; gone once the run is started again."""
        return self.path / "error.txt"

    @property
    def progress(self) -> Path:
        """How far the run has come, while somebody is at it."""
        return self.path / "progress.json"

    def tidy(self) -> None:
        """Remove what killed processes left: half-written files, and their last words. Only while it is held."""
        for path in [*self.path.glob(".*"), self.progress]:
            path.unlink(missing_ok=True)

    def files(self) -> tuple[Path, ...]:
        """Return what the run has left, in the order of the names; lock, lease and progress are nobody's result."""
        left = (path for path in self.path.glob("*") if not path.name.startswith("."))
        of_holder = {self.path / "lock", self.progress, *lease.files(self.path)}
        return tuple(sorted(path for path in left if path not in of_holder))

    def finished(self) -> Record | None:
        """Return the record if the present code made it; ``None`` if there is none or other code made it.

        Raises:
            RecordError: the record is unreadable or another run's.
        """
        if not self.record.exists():
            return None
        record = self.checked_record()
        return record if record.provenance.get("source_digest") == code.code_of(record.run).digest else None

    def checked_record(self) -> Record:
        """Return the record that lies here, whatever code made it.

        Raises:
            RecordError: it is unreadable or another run's.
        """
        record = Record.load(self.record)
        if record.run_id != self.path.name:
            raise RecordError(f"{self.record}: is the record of {record.run_id}. Move it back or delete it.")
        return record

    def is_held(self) -> bool:
        """Return whether a process is at the run now; the lock is tried, and let go of at once."""
        if not (self.path / "lock").exists():
            return False
        lock = self._lock()
        try:
            lock.acquire()
        except Timeout:
            return True
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        try:
            return lease.holder(self.path, is_alone_here=lock.is_locked) != ""
        finally:
            lock.release()

    def set_aside(self, why: str) -> None:
        """Rename what a finished run left, so that it is made again and the old numbers stay."""
        for path in (self.record, self.masks, self.encoder):
            if path.exists():
                path.rename(path.with_name(f"{path.stem}.{why}{path.suffix}"))

    @contextlib.contextmanager
    def held(self, wait: Callable[[str], None]) -> Iterator[Callable[[], None]]:
        """Hold the folder; the kernel lets go of it when this process ends, however it ends.

        Where the folder of all runs says so, it is held by a lease as well, which others take over when this process
        has ended without giving it back. The folder is made if it is not there. The lock file stays, and holds the name
        of its last holder.

        Args:
            wait: called again and again while another process holds it, with that process's name; it sleeps.

        Yields:
            What raises ``LeaseLostError`` if another process has taken the lease over.

        Raises:
            OSError: the file system offers no locks, and there are no leases.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        file, lock, has_leases = self.path / "lock", self._lock(), lease.are_used(self.path.parent)
        taken: Lease | None = None
        try:
            while not lock.is_locked:
                try:
                    lock.acquire()
                except Timeout:
                    wait(file.read_text(encoding="utf-8").strip() or "another process")
                except OSError as error:
                    if error.errno not in NO_LOCKS:
                        raise
                    if has_leases:
                        break
                    raise OSError(
                        error.errno,
                        f"{self.path}: this file system offers no locks, without which two processes would write the "
                        "same run. Put --out on a local disk, or use --leases",
                    ) from error
            while has_leases and taken is None:
                answer = Lease.take(self.path, is_alone_here=lock.is_locked)
                if isinstance(answer, Lease):
                    taken = answer
                else:
                    wait(answer)
            file.write_text(f"process {os.getpid()} on {platform.node()}\n", encoding="utf-8")
            yield _nothing if taken is None else taken.require
        finally:
            if taken is not None:
                taken.give_back()
            lock.release()

    def _lock(self) -> FileLock:
        # No soft lock instead: it would outlive a killed process.
        return FileLock(
            self.path / "lock", blocking=False, fallback_to_soft=False, is_singleton=False, thread_local=False
        )


def _nothing() -> None:
    """Have nothing to say: a lock is not lost."""
