"""The compiled kernels behind skipping, built once where there is a C++ compiler, and kept in a cache.

``pixels.cpp`` computes what is open, ``gradients.cpp`` its gradients, and ``masks.cpp`` decides for a block. Where they
cannot be had, ``missing`` says why, and ``methods.gating.pixels`` and ``methods.gating.rows`` do the same in PyTorch.
"""

import ctypes
import functools
from pathlib import Path

from methods import native
from methods.native import NoKernelError

SOURCES = tuple(
    Path(__file__).with_name(name) for name in ("pixels.cpp", "gradients.cpp", "masks.cpp", "open_pixels.h")
)


class Job(ctypes.Structure):
    """What to compute; the fields of ``Job`` in ``open_pixels.h``, in their order."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("output", "input", "weight", "bias", "is_open")),
        *((name, ctypes.c_void_p) for name in ("segments", "panels", "parts")),
        *((name, ctypes.c_int64) for name in ("images", "height", "width", "channels", "high", "wide", "outputs")),
        *((name, ctypes.c_int64) for name in ("slices", "part_count", "down", "across", "adds", "compact", "filter")),
    )


def missing() -> str:
    """Return why there are no compiled kernels; nothing where there are."""
    return native.missing(library)


@functools.cache
def library() -> ctypes.CDLL:
    """Return the kernels, built if they were not yet.

    Raises:
        NoKernelError: there is no compiler, or it cannot build them.
    """
    loaded = native.loaded(*SOURCES)
    for size in (loaded.width, loaded.lanes):
        size.restype = ctypes.c_int64
    loaded.pack.argtypes = (ctypes.c_void_p,) * 2
    loaded.write.argtypes = (*(ctypes.c_void_p,) * 3, ctypes.c_int64)
    loaded.backward.argtypes = (*(ctypes.c_void_p,) * 4, ctypes.c_int64)
    loaded.mask.argtypes = (*(ctypes.c_void_p,) * 2, ctypes.c_float, *(ctypes.c_int64,) * 7)
    for function in (loaded.pack, loaded.write, loaded.backward, loaded.mask):
        function.restype = None
    return loaded


__all__ = ["Job", "NoKernelError", "library", "missing"]
