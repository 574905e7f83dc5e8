"""The compiled kernel behind skipping (``pixels.cpp``), built once where there is a C++ compiler, kept in a cache.

Where it cannot be had, ``missing`` says why, and ``methods.gating.pixels`` computes the same in PyTorch.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("pixels.cpp")
COMPILERS = ("c++", "g++", "clang++")  # unless the environment names one: CXX
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp-simd", "-pthread", "-shared", "-fPIC")
_SECONDS = 300.0  # for a compiler; it needs about one


class NoKernelError(Exception):
    """There is no compiled kernel here; the message says why."""


class Job(ctypes.Structure):
    """What to compute; the fields of ``Job`` in ``pixels.cpp``, in their order."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("output", "input", "weight", "bias", "is_open")),
        *((name, ctypes.c_void_p) for name in ("segments", "panels", "parts")),
        *((name, ctypes.c_int64) for name in ("images", "height", "width", "channels", "high", "wide", "outputs")),
        *((name, ctypes.c_int64) for name in ("slices", "part_count", "down", "across", "adds")),
    )


def missing() -> str:
    """Return why there is no compiled kernel; nothing where there is one."""
    try:
        library()
    except NoKernelError as error:
        return str(error)
    return ""


@functools.cache
def library() -> ctypes.CDLL:
    """Return the kernel, built if it was not yet.

    Raises:
        NoKernelError: there is no compiler, or it cannot build the kernel.
    """
    named = os.environ.get("CXX")
    compiler = next((found for name in ([named] if named else COMPILERS) if (found := shutil.which(name))), None)
    if compiler is None:
        raise NoKernelError(f"no C++ compiler: {named or ', '.join(COMPILERS)} not found (CXX may name one)")
    try:
        loaded = ctypes.CDLL(str(_built(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        raise NoKernelError(f"{compiler} gave no kernel that runs: {_reason(error)}") from error
    loaded.width.restype = ctypes.c_int64
    loaded.write.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    loaded.write.restype = None
    return loaded


def _built(compiler: str) -> Path:
    """Return the library of this source, compiler and processor; it appears under its name when it is whole."""
    # All that the compiler predefines names its version and the instructions of the processor that it builds for.
    known = _run(compiler, *FLAGS, "-E", "-dM", "-x", "c++", os.devnull)
    digest = hashlib.sha256(b"\0".join([SOURCE.read_bytes(), " ".join(FLAGS).encode(), known])).hexdigest()
    path = _folder() / f"pixels-{digest[:20]}.so"
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder, "pixels.so")
            _run(compiler, *FLAGS, str(SOURCE), "-o", str(made))
            made.replace(path)
    return path


def _folder() -> Path:
    """Return the user's place for compiled files."""
    named, caches = os.environ.get("SPARSE_SSL_CACHE"), os.environ.get("XDG_CACHE_HOME")
    root = Path(named) if named else Path(caches or Path("~/.cache").expanduser(), "sparse-ssl-bench")
    return root.absolute() / "compiled"


def _run(*command: str) -> bytes:
    return subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS).stdout  # noqa: S603 (a compiler)


def _reason(error: Exception) -> str:
    """Return the line of a compiler's complaint that says most."""
    said = error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else str(error)
    lines = said.strip().splitlines() or [str(error)]
    return next((line for line in lines if "error" in line), lines[0])


__all__ = ["Job", "NoKernelError", "library", "missing"]
