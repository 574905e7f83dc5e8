"""Where the project lies, and files that are whole or not there."""

import contextlib
import fcntl
import hashlib
import os
import platform
import secrets
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def reserve(path: Path, size_bytes: int) -> None:
    """Make a file of this size, on a disk that has room for all of it.

    A file that is mapped has holes where nothing was written yet. To fill one on a full disk is no error that a program
    can catch: the kernel ends it (SIGBUS).

    Raises:
        OSError: there is no room, with the file's name.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        os.posix_fallocate(handle, 0, max(1, size_bytes))
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error
    finally:
        os.close(handle)


def write_atomically(path: Path, payload: bytes) -> None:
    """Write a file so that it is there whole or not at all: temporary file, fsync, rename, fsync of the folder.

    Who may read it is decided by the umask, as for any file: not by the rule for temporary files, which is nobody.
    Temporary files that killed processes of this machine have left in the folder are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _tidy(path.parent)
    partial, handle = _partial(path)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
            partial.replace(path)  # while its lock is held: until then, only that tells it from litter
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _ending() -> str:
    """Return how this machine's temporary files end: of another one's nobody here knows whether they are in use."""
    return f".{hashlib.sha256(platform.node().encode()).hexdigest()[:8]}.part"


def _partial(path: Path) -> tuple[Path, int]:
    """Return a new temporary file beside ``path``, open and locked until it is closed, however this process ends."""
    while True:
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_ending()}")
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with contextlib.suppress(OSError):  # a file system without locks: there nobody removes what is left
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return partial, handle
        os.close(handle)  # another process took it for litter before it was locked


def _tidy(folder: Path) -> None:
    """Remove the temporary files whose processes have ended: nobody holds their locks."""
    for partial in folder.glob(f".*{_ending()}"):
        with contextlib.suppress(OSError):  # in use, gone, somebody else's, or on a file system without locks
            handle = os.open(partial, os.O_WRONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                partial.unlink()
            finally:
                os.close(handle)
