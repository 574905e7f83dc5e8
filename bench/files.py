"""Where the project lies, and files that are whole or not there."""

import os
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
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
