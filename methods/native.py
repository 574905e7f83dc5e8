"""Compiled kernels: libraries of C++ sources, built once where there is a compiler, and kept in the user's cache."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

COMPILERS = ("c++", "g++", "clang++")  # unless the environment names one: CXX
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp-simd", "-pthread", "-shared", "-fPIC")
_SECONDS = 300.0  # for a compiler; it needs a few


class NoKernelError(Exception):
    """There is no compiled kernel here; the message says why."""


def loaded(*sources: Path, flags: Sequence[str] = ()) -> ctypes.CDLL:
    """Return the library of some sources, built if it was not yet.

    Args:
        sources: ``.cpp`` files, and the headers that they include; the library is named after the first.
        flags: that the compiler is given beside ``FLAGS``.

    Raises:
        NoKernelError: there is no compiler, or it cannot build the kernel.
    """
    found = compiler()
    try:
        return ctypes.CDLL(str(_built(found, sources, (*FLAGS, *flags))))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: the user has no home
        raise NoKernelError(f"{found} gave no kernel that runs: {_reason(error)}") from error


def compiler() -> str:
    """Return the path of the C++ compiler.

    Raises:
        NoKernelError: there is none.
    """
    named = os.environ.get("CXX")
    path = next((found for name in ([named] if named else COMPILERS) if (found := shutil.which(name))), None)
    if path is None:
        raise NoKernelError(f"no C++ compiler: {named or ', '.join(COMPILERS)} not found (CXX may name one)")
    return path


def missing(library: Callable[[], object]) -> str:
    """Return why a library cannot be had; nothing where it can.

    Args:
        library: loads it, or raises a ``NoKernelError``.
    """
    try:
        library()
    except NoKernelError as error:
        return str(error)
    return ""


def doubted(library: Callable[[], object], is_exact: Callable[[], bool], made: str) -> str:
    """Return why a library is not used; nothing where it is. Of one that computes otherwise than PyTorch, warn.

    Args:
        library: loads it, or raises a ``NoKernelError``.
        is_exact: whether it makes what PyTorch makes, of something made up.
        made: what it makes, in the plural.
    """
    reason = missing(library)
    if not reason and not is_exact():
        reason = f"the kernel that {compiler()} built makes other {made} than PyTorch"
        warnings.warn(f"{made} are made by PyTorch, which is slower: {reason}.", stacklevel=3)
    return reason


def _built(compiler: str, sources: tuple[Path, ...], flags: tuple[str, ...]) -> Path:
    """Return the library that these, and the processor, give; it appears under its name when it is whole."""
    # All that the compiler predefines names its version and the instructions of the processor that it builds for.
    known = _run(compiler, *flags, "-E", "-dM", "-x", "c++", os.devnull)
    texts = [path.read_bytes() for path in sources]
    digest = hashlib.sha256(b"\0".join([*texts, " ".join(flags).encode(), known])).hexdigest()
    name = sources[0].stem
    path = _folder() / f"{name}-{digest[:20]}.so"
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder, f"{name}.so")
            _run(compiler, *flags, *(str(each) for each in sources if each.suffix == ".cpp"), "-o", str(made))
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


__all__ = ["NoKernelError", "compiler", "doubted", "loaded", "missing"]
