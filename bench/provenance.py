"""Which code, which machine, which commit."""

import functools
import hashlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from bench import files
from bench.files import ROOT

if TYPE_CHECKING:
    import torch


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


def device(used: "torch.device") -> dict[str, object]:
    """Return what is worth knowing about the device a run was made on, and what it cost there."""
    if used.type != "cuda":
        return {"name": _cpu_model()}
    import torch  # noqa: PLC0415  # seconds, and not every command needs it

    return {
        "name": torch.cuda.get_device_name(used),
        "count": torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tf32": bool(torch.backends.cudnn.allow_tf32),
        "peak_memory_bytes": torch.cuda.max_memory_allocated(used),
    }


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
