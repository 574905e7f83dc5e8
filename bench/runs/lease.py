"""Who is at a run, where no lock of the file system says it to all machines: a lease, which its holder keeps renewing.

A lock ends with its process, by the kernel's word. A lease is a file that its holder touches every now and then; one
that was not touched for a while is taken over. Leases of a folder are numbered, and the highest number counts: to take
over is to make the file of the next number, which only one process can. So the newest is never removed: one that was
given back is made old. A holder that was away for too long finds a higher number, and stops.

Ages are differences of times that the file server wrote: the clocks of the machines do not matter. Should two processes
be at one run for some seconds after all, nothing is lost: files are whole, and equal runs leave equal numbers.
"""

import contextlib
import os
import platform
import secrets
import threading
from pathlib import Path

RENEW_SECONDS = 15.0
LAPSE_SECONDS = 120.0  # more than the minute for which clients of NFS may believe what they were told of a file
_SIGN = ".leases"
_PATTERN = "lease." + "[0-9]" * 6
_UNKNOWN = "another process"


class LeaseLostError(Exception):
    """Another process took the lease over, because this one did not renew it in time; it says who."""


def are_used(runs_dir: Path) -> bool:
    """Return whether the runs of a folder are held by leases."""
    return (runs_dir / _SIGN).exists()


def use(runs_dir: Path) -> None:
    """Have the runs of a folder held by leases from now on, on all machines."""
    (runs_dir / _SIGN).touch()


def files(folder: Path) -> list[Path]:
    """Return the leases of a folder, the newest last."""
    return sorted(folder.glob(_PATTERN), key=_number)


def holder(folder: Path, *, is_alone_here: bool) -> str:
    """Return who holds a folder by a lease; empty if nobody does, or did not renew it for too long.

    Args:
        folder: of a run.
        is_alone_here: whether the caller has the lock of this machine, so that a holder on this machine has died.
    """
    return _look(folder, is_alone_here=is_alone_here)[1]


class Lease:
    """A lease that was taken; a thread renews it until it is given back."""

    def __init__(self, path: Path) -> None:
        """Renew a lease from now on."""
        self._path = path
        self._is_lost = False
        self._is_over = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name=f"lease of {path.parent.name}", daemon=True)
        self._renewing.start()

    @classmethod
    def take(cls, folder: Path, *, is_alone_here: bool) -> "Lease | str":
        """Take the lease of a folder, or return who has it. Never waits.

        Args:
            folder: of a run.
            is_alone_here: as for ``holder``.
        """
        newest, whose = _look(folder, is_alone_here=is_alone_here)
        if whose:
            return whose
        path = folder / f"lease.{newest + 1:06d}"
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return _UNKNOWN
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            stream.write(f"process {os.getpid()} on {platform.node()}\n{_machine()}\n")
        *older, last = files(folder)
        if last != path:  # this process looked long ago; since then others came, and removed what was older than theirs
            path.unlink(missing_ok=True)
            return _UNKNOWN
        for each in older:
            each.unlink(missing_ok=True)
        return cls(path)

    def require(self) -> None:
        """Demand that the lease was not taken over.

        Raises:
            LeaseLostError: it was.
        """
        if self._is_lost:
            raise LeaseLostError(_look(self._path.parent, is_alone_here=False)[1] or _UNKNOWN)

    def give_back(self) -> None:
        """Let others have it."""
        self._is_over.set()
        self._renewing.join(timeout=5.0)  # a file system that is away may keep it longer
        if not self._is_lost:
            with contextlib.suppress(OSError):  # then it lapses
                os.utime(self._path, (0, 0))

    def _renew(self) -> None:
        while not self._is_over.wait(RENEW_SECONDS):
            # The file system may be away: who takes over meanwhile makes a higher number.
            with contextlib.suppress(OSError):
                if files(self._path.parent)[-1:] != [self._path]:
                    self._is_lost = True
                    return
                os.utime(self._path)


def _look(folder: Path, *, is_alone_here: bool) -> tuple[int, str]:
    """Return the number of the newest lease, 0 if there is none, and who holds it."""
    newest = files(folder)[-1:]
    if not newest:
        return 0, ""
    try:
        whose, _, machine = newest[0].read_text(encoding="utf-8").partition("\n")
        renewed = newest[0].stat().st_mtime
    except FileNotFoundError:  # somebody takes over at this moment
        return _number(newest[0]), _UNKNOWN
    is_dead = is_alone_here and machine.strip() == _machine()
    if is_dead or _server_time(folder.parent) - renewed > LAPSE_SECONDS:
        return _number(newest[0]), ""
    held = f"{whose or _UNKNOWN} (by a lease, which lapses {LAPSE_SECONDS:.0f} s after its last renewal)"
    return _number(newest[0]), held


def _number(path: Path) -> int:
    return int(path.suffix[1:])


def _server_time(folder: Path) -> float:
    """Return the time that the file system writes now, in seconds."""
    path = folder / f".clock.{secrets.token_hex(8)}"
    try:
        path.write_bytes(b"\0")
        return path.stat().st_mtime
    finally:
        path.unlink(missing_ok=True)


def _machine() -> str:
    """Return what no other machine has, and this one until it starts anew.

    Where that is unknown, it is this process's alone: of no holder it is then known that it died, and leases lapse.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{platform.node()} {os.getpid()}"
