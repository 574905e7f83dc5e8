"""The compiled kernel behind skipping (``pixels.cpp``), built once where there is a C++ compiler, kept in a cache.

Where it cannot be had, ``missing`` says why, and ``methods.gating.pixels`` computes the same in PyTorch.
"""

import ctypes
import functools
from pathlib import Path

from methods import native
from methods.native import NoKernelError

SOURCE = Path(__file__).with_name("pixels.cpp")


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
    loaded = native.loaded(SOURCE)
    loaded.width.restype = ctypes.c_int64
    loaded.write.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    loaded.write.restype = None
    return loaded


__all__ = ["Job", "NoKernelError", "library", "missing"]
