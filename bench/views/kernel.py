"""The compiled kernel that makes both views of a batch in one call, and reduces them: ``views.cpp``.

No compiler is believed: before a process takes its first views from the kernel, made-up images go both ways, and if a
bit differs PyTorch makes all of them.
"""

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from bench.views import pixels, planned, resample
from bench.views.base import View
from bench.views.parameters import BLUR_DRAWS, DRAWS, parameters
from bench.views.pixels import MEAN, STD
from methods import native

SOURCE = Path(__file__).with_name("views.cpp")
# A product that is fused with a sum is rounded once, and PyTorch's is twice. The others let loops be vectorised; they
# are about exceptions, NaN, infinity and the sign of zero, none of which there is.
FLAGS = ("-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno", "-ffinite-math-only", "-fno-signed-zeros")
_LAST = torch.channels_last
_STEPS = (2, 4)  # pixels, along a side, that become one
_IMAGES, _MOST_SIDE = 12, 64  # that the check is of: larger sides take the same instructions as this one
# Every operation, often, at its extremes.
_ALL = View(min_scale=0.01, jitter=0.9, brightness=0.9, contrast=0.9, saturation=0.9, hue=0.5, solarise=0.3, blur=0.3)


class _Batch(ctypes.Structure):
    """The fields of ``Batch`` in ``views.cpp``, in their order."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("images", "table", "views")),
        *((name, ctypes.c_int64) for name in ("count", "side", "blurs_last")),
        *((name, 3 * ctypes.c_float) for name in ("mean", "deviation")),
    )


@functools.cache
def library() -> ctypes.CDLL:
    """Return the kernel, built if it was not yet.

    Raises:
        NoKernelError: there is no compiler, or it cannot build the kernel.
    """
    loaded = native.loaded(SOURCE, flags=FLAGS)
    loaded.make_views.argtypes = (ctypes.c_void_p,)
    loaded.reduce.argtypes = (*(ctypes.c_void_p,) * 2, *(ctypes.c_int64,) * 3)
    loaded.make_views.restype = loaded.reduce.restype = None
    return loaded


@functools.cache
def missing(side: int, size: int) -> str:
    """Return why there is no kernel that makes views of images; nothing where there is.

    Args:
        side: of the images, in pixels.
        size: of the views.
    """
    if not resample.is_exact_in_floats(side, size):
        sides = f"the images' own side, a power of two up to {resample.MOST_EXACT_SIDE}"
        return f"the kernel makes views of {sides}; these have {size} of {side} pixels"
    return native.doubted(library, lambda: _is_exact(min(side, _MOST_SIDE)), "views")


def made(images: Tensor, table: Tensor, *, blurs_last: bool) -> Tensor:
    """Return both views of images, as ``planned.made`` does: ``[2B, 3, P, P]``, on one thread.

    Args:
        images: ``[B, 3, P, P]`` bytes on the CPU, of a side for which nothing is ``missing``.
        table: ``[B, 2, 22]`` parameters of their views.
        blurs_last: whether views are blurred behind the inversion.
    """
    count, channels, side, width = images.shape
    assert images.dtype == torch.uint8, "images are bytes"
    assert (channels, width) == (3, side), "images are squares of three channels"
    images, table = images.contiguous(), table.contiguous()
    both = torch.empty(2 * count, 3, side, side, memory_format=_LAST)
    batch = _Batch(
        images=images.data_ptr(),
        table=table.data_ptr(),
        views=both.data_ptr(),
        count=count,
        side=side,
        blurs_last=blurs_last,
        mean=MEAN,
        deviation=STD,
    )
    library().make_views(ctypes.byref(batch))
    return both


def reduces(views: Tensor, side: int) -> bool:
    """Return whether ``reduced`` can take views ``[B, 3, H, W]`` to a side."""
    *_, height, width = views.shape
    is_plain = views.device.type == "cpu" and views.dtype == torch.float32 and not views.requires_grad
    is_tiled = views.shape[1] == 3 and height == width and side in _small_sides(width)
    return is_plain and is_tiled and views.is_contiguous(memory_format=_LAST) and not missing(width, width)


def reduced(views: Tensor, side: int) -> Tensor:
    """Return views ``[B, 3, side, side]`` as ``pixels.reduced`` does, of such as the kernel ``reduces``."""
    count, step = len(views), views.shape[-1] // side
    small = torch.empty(count, 3, side, side, memory_format=_LAST)
    library().reduce(views.data_ptr(), small.data_ptr(), count * side, side, step)
    return small


def _is_exact(side: int) -> bool:
    """Return whether the kernel gives PyTorch's bits of images of noise and of few colours, which have ties."""
    generator = torch.Generator().manual_seed(0)
    noise, coarse = (
        torch.randint(0, 256, (_IMAGES // 2, 3, detail, detail), dtype=torch.uint8, generator=generator)
        for detail in (side, min(side, 4))
    )
    stretch = side // coarse.shape[-1]
    images = torch.cat([noise, coarse.repeat_interleave(stretch, 2).repeat_interleave(stretch, 3)])
    draws, blurs = (torch.rand(2 * _IMAGES, numbers, generator=generator) for numbers in (DRAWS, BLUR_DRAWS))
    table = parameters(_ALL, draws, side, blurs).view(_IMAGES, 2, -1)
    for blurs_last in (False, True):
        expected = planned.made(images, table, side, blurs_last=blurs_last)
        if not torch.equal(made(images, table, blurs_last=blurs_last), expected):
            return False
    return all(torch.equal(reduced(expected, small), pixels.reduced(expected, small)) for small in _small_sides(side))


def _small_sides(side: int) -> list[int]:
    """Return the sides that views can be reduced to; not 1, for which PyTorch adds up in another order."""
    return [side // step for step in _STEPS if side % step == 0 and side > step]
