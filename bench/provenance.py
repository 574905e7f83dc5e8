"""Which code, which machine, which commit."""

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from bench import files
from bench.sources import LIBRARIES, sources

# Until November 2026 a class had this many parts: machine, processor, torch, torchvision, lightly, threads, precision.
# It left out the instructions in use. Two machines of one such class, with and without AVX-512, gave other bits.
_INCOMPLETE_PARTS = 7

if TYPE_CHECKING:
    import torch


def source_digest() -> str:
    """Return 16 hex digits over all code that can change a number of some run, and the versions of what computes."""
    return sources().digest


def env_class(*, processor: str, threads: int, precision: str, ranks: int = 1, compiles: bool = False) -> str:
    """Return the class of environments in which one seed gives identical bits.

    Threads of Python, its hash seed, the locale and the number of jobs change none.

    Args:
        processor: what computes, and with which instructions: ``cpu`` or the name of an accelerator and its libraries.
        threads: of one run.
        precision: as Fabric names it.
        ranks: processes that share every batch: each normalises its own images.
        compiles: whether encoders train as ``torch.compile`` translates them.
    """
    together = f"/ranks{ranks}" if ranks > 1 else ""
    translated = "/compiled" if compiles else ""
    return f"{platform.machine()}/{processor}/{_versions()}/t{threads}/{precision}{together}{translated}"


def is_same_class(one: object, other: object) -> bool:
    """Return whether two classes of environments are the same; an unknown or an incomplete one is like no other."""
    return isinstance(one, str) and one == other and len(one.split("/")) != _INCOMPLETE_PARTS


def cpu(capability: str) -> str:
    """Return the processor, and the instructions that are used of it.

    Args:
        capability: of PyTorch's own kernels, as in force: ``torch.backends.cpu.get_cpu_capability()``.
    """
    # What oneDNN would use is only known to it; the variable, which it reads under both names, can forbid some.
    most = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "default"
    most = "default" if most.upper() in {"ALL", "DEFAULT"} else most.upper()
    return f"{_cpu_model()}/{capability}/onednn-{most}"


def device(used: "torch.device", ranks: int = 1) -> dict[str, object]:
    """Return what is worth knowing about the device a run was made on, and what it cost there.

    Args:
        used: by this process.
        ranks: processes that made the run, each with such a device.
    """
    if used.type != "cuda":
        return {"name": _cpu_model(), "count": ranks}
    import torch  # noqa: PLC0415  # seconds, and not every command needs it

    return {
        "name": torch.cuda.get_device_name(used),
        "count": ranks,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": _driver(),
        "tf32": bool(torch.backends.cudnn.allow_tf32),
        "peak_memory_bytes": torch.cuda.max_memory_allocated(used),
    }


def _driver() -> str:
    """Return the version of the GPU's driver, e.g. ``570.133.20``; ``unknown`` where its own tool does not tell.

    It is in no class of environments: the kernels of PyTorch, cuBLAS and cuDNN come compiled for the GPU, so that the
    driver loads them and rounds nothing; and with every update of it all stored runs would be of another class.
    """
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60.0).stdout  # noqa: S603 (fixed)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return next(iter(told.split()), "unknown")  # a line per GPU, all the same


@functools.cache
def _versions() -> str:
    return "/".join(f"{name}{importlib.metadata.version(name)}" for name in LIBRARIES)


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
