"""The compiled kernel behind N:M masks of weights that lie channels-last on a CPU: ``patterns.cpp``.

No compiler is believed: before a process takes its first masks from the kernel, made-up weights go both ways, and if a
mask differs PyTorch makes all of them.
"""

import ctypes
import functools
import itertools
import math
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from methods import native
from methods.granularity import transposable
from methods.granularity.base import check_finite
from methods.granularity.n_of_m import NofM

SOURCE = Path(__file__).with_name("patterns.cpp")
FLAGS = ("-ffp-contract=off",)
ALONG_INPUTS, ALONG_BOTH = (2, 4, 8, 16), (2, 3, 4)  # the M of N:M that the kernel has been built for


class _Tables(ctypes.Structure):
    """The fields of ``Tables`` in ``patterns.cpp``, in their order."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("choices", "ones", "needs", "stages")),
        *((name, ctypes.c_int64) for name in ("choice_count", "n")),
    )


@functools.cache
def library() -> ctypes.CDLL:
    """Return the kernel, built if it was not yet.

    Raises:
        NoKernelError: there is no compiler, or it cannot build the kernel.
    """
    loaded = native.loaded(SOURCE, flags=FLAGS)
    loaded.along_inputs.argtypes = (*(ctypes.c_void_p,) * 2, *(ctypes.c_int64,) * 3)
    loaded.along_both.argtypes = (*(ctypes.c_void_p,) * 3, *(ctypes.c_int64,) * 3)
    loaded.along_inputs.restype = loaded.along_both.restype = ctypes.c_int64
    return loaded


@functools.cache
def missing() -> str:
    """Return why there is no kernel; nothing where there is one."""
    return native.doubted(library, _is_exact, "N:M masks")


def ranks(weights: Iterable[Tensor], m: int, *, both: bool) -> bool:
    """Return whether the kernel makes the masks of these weights: of blocks that are m x m, or rows of m."""
    return m in (ALONG_BOTH if both else ALONG_INPUTS) and all(map(_suits, weights)) and not missing()


def along_inputs(weight: Tensor, n: int, m: int) -> Tensor:
    """Return the mask, bool and channels-last, that ``NofM.strict`` gives for the magnitudes of weights it ``ranks``.

    Raises:
        ValueError: a weight is not finite.
    """
    kept = torch.empty_like(weight, dtype=torch.bool)
    if not library().along_inputs(weight.data_ptr(), kept.data_ptr(), weight.numel() // m, n, m):
        check_finite(weight)
    return kept


def along_both(weight: Tensor, n: int, m: int) -> Tensor:
    """Return the mask, bool and channels-last, of ``transposable.keep_all`` for the magnitudes of weights it ``ranks``.

    Raises:
        ValueError: a weight is not finite.
    """
    kept, outputs = torch.empty_like(weight, dtype=torch.bool), len(weight)
    groups, (tables, _) = weight.numel() // (outputs * m), _tables(n, m)
    if not library().along_both(weight.data_ptr(), kept.data_ptr(), ctypes.byref(tables), outputs, groups, m):
        check_finite(weight)
    return kept


@functools.cache
def _tables(n: int, m: int) -> tuple[_Tables, tuple[Tensor, ...]]:
    """Return what the kernel reads, and what has to live for it."""
    choices, stages = transposable.choices_of(n, m), transposable.stages_of(n, m)
    needs = torch.tensor([len(stage) for stage in stages], device="cpu")
    parts = choices, transposable.ones_of(n, m), needs, torch.cat(stages)
    return _Tables(*(part.data_ptr() for part in parts), len(choices), n), parts


def _suits(weight: Tensor) -> bool:
    is_plain = type(weight) in {Tensor, nn.Parameter} and weight.device.type == "cpu" and weight.dtype == torch.float32
    return is_plain and weight.movedim(1, -1).is_contiguous()


def _is_exact() -> bool:
    """Return whether the kernel gives PyTorch's masks, of every M, and refuses what has no order."""
    return all(_agrees(n, m) and _refuses(n, m) for m in {*ALONG_INPUTS, *ALONG_BOTH} for n in {1, m // 2, m - 1})


def _agrees(n: int, m: int) -> bool:
    """Return whether masks are the same: of weights with ties, and of some whose sums hang on precision and order."""
    weight = _made_up(m)
    weight[:m] = (6.0 * weight[:m] - 3.0).round()
    weight[m : 2 * m] = (64.0 * (weight[m : 2 * m] - 0.5)).exp()
    strength = {"": weight.abs()}
    return (m not in ALONG_INPUTS or torch.equal(along_inputs(weight, n, m), NofM(n, m).strict(strength)[""])) and (
        m not in ALONG_BOTH or torch.equal(along_both(weight, n, m), transposable.keep_all(strength, n, m)[""])
    )


def _refuses(n: int, m: int) -> bool:
    """Return whether NaN and both infinities are seen: compilers can be told that there are none."""
    for bad, (way, sides) in itertools.product(
        (math.nan, math.inf, -math.inf), ((along_inputs, ALONG_INPUTS), (along_both, ALONG_BOTH))
    ):
        weight = _made_up(m)
        weight[m, m, 1, 1] = bad
        try:
            if m in sides:
                way(weight, n, m)
                return False
        except ValueError:
            pass
    return True


def _made_up(m: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.rand(3 * m, 3, 3, 5 * m, generator=generator, dtype=torch.float32, device="cpu")
    return numbers.movedim(-1, 1)
