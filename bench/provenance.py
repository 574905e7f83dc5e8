"""Which code, which machine, which commit."""

import functools
import hashlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path

from bench import files
from bench.files import ROOT


@functools.cache
def source_digest() -> str:
    """Return 16 hex digits over the .py files of bench/ and methods/, and the versions of what trains."""
    digest = hashlib.sha256()
    for package in ("bench", "methods"):
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    for name in ("torch", "torchvision", "lightly"):
        digest.update(f"{name}={importlib.metadata.version(name)}\0".encode())
    return digest.hexdigest()[:16]


def env_class(*, threads: int, precision: str, device: str = "") -> str:
    """Return the class of machines on which one seed gives identical bits; ``device`` names an accelerator, if any."""
    versions = "/".join(f"{name}{importlib.metadata.version(name)}" for name in ("torch", "torchvision", "lightly"))
    return f"{platform.machine()}/{_cpu_model()}/{versions}/t{threads}/{precision}{device and f'/{device}'}"


@functools.cache
def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or "unknown processor"


def git_state() -> dict[str, object]:
    """Return the commit the code lies at and whether tracked files differ from it; unknown outside a checkout."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {
            "git_commit": commit,
            "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": "unknown", "git_dirty": True}


def strangers() -> list[str]:
    """Return the Python files of bench/ and methods/ that git does not know: they are part of what runs."""
    try:
        return _git("ls-files", "--others", "--exclude-standard", "--", "bench/*.py", "methods/*.py").splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []  # outside a checkout: ``git_state`` calls that dirty


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(files.ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603
