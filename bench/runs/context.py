"""Where runs find their images, leave their records, and on what they are trained."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every worker is told. It changes no number, so it is not part of ``Run``.

    Attributes:
        runs_dir: holds a folder per run, a ``RunFolder``.
        data_dir: where the images lie.
        cache_dir: decoded images.
        checkpoint_seconds: wall time between two checkpoints; ``None`` for the device's default: a GPU's are large.
        restarts: whether a run whose checkpoint is damaged starts anew, instead of failing.
        keeps_encoders: whether trained encoders stay beside their records.
        leases: whether runs are held by leases, as they are in any case where the file system has no locks.
        device: ``cpu``, ``cuda`` or ``auto``: a GPU where there is one.
        compiles: whether encoders train as ``torch.compile`` translates them; it rounds otherwise, as a device does.
        devices: processes of this machine that make one run together, each with its share of every batch.
        nodes: machines with so many such processes each.
    """

    runs_dir: Path
    data_dir: Path
    cache_dir: Path
    checkpoint_seconds: float | None = None
    restarts: bool = False
    keeps_encoders: bool = True
    leases: bool = False
    device: str = "cpu"
    compiles: bool = False
    devices: int = 1
    nodes: int = 1

    @property
    def seconds_between_checkpoints(self) -> float:
        """Wall time between two checkpoints."""
        if self.checkpoint_seconds is not None:
            return self.checkpoint_seconds
        return 10.0 if self.is_cpu else 600.0

    @property
    def is_cpu(self) -> bool:
        """Whether everything runs on the CPU."""
        return self.device == "cpu" or (self.device == "auto" and not _has_cuda())

    def require_device(self) -> None:
        """Demand that the device is there, and what compiling needs, before anything starts.

        Raises:
            UsageError: it is not.
        """
        compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
        if self.compiles and shutil.which(compiler) is None:
            raise UsageError(
                f"--compile: torch.compile needs a C++ compiler, and {compiler} is not found. Install one, name one in "
                "CXX, or leave --compile out: runs are the same up to rounding."
            )
        if self.device == "cuda" and not _has_cuda():
            raise UsageError(
                "--device cuda: torch finds no CUDA device here. Use --device cpu; where runs are made, --device auto "
                "takes a GPU if there is one. Where a GPU should be: `nvidia-smi` shows the driver, and the installed "
                "torch must be a build for CUDA."
            )


def _has_cuda() -> bool:
    import torch  # noqa: PLC0415  # seconds, and most commands never ask

    return torch.cuda.is_available()
