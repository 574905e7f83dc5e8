"""The compiled kernel behind N:M masks of scores that lie channels-last on a CPU: ``patterns.cpp``.

No compiler is believed: before a process takes its first masks from the kernel, made-up scores go both ways, and if a
mask differs PyTorch makes all of them.
"""

import ctypes
import functools
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from methods import native
from methods.granularity import transposable
from methods.granularity.base import check_finite
from methods.granularity.n_of_m import NofM

SOURCE = Path(__file__).with_name("patterns.cpp")
FLAGS = ("-ffp-contract=off",)
ALONG_INPUTS, ALONG_BOTH = (2, 4, 8, 16), (2, 3, 4)  # the M of N:M that the kernel has been built for


class _Masks(ctypes.Structure):
    """The fields of ``Masks`` in ``patterns.cpp``, in their order."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("choices", "rows")),
        *((name, ctypes.c_int64) for name in ("choice_count", "count", "n")),
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
    reason = native.missing(library)
    if not reason and not _is_exact():
        reason = f"the kernel that {native.compiler()} built gives other masks than PyTorch"
        warnings.warn(f"N:M masks are made by PyTorch, which is slower: {reason}.", stacklevel=2)
    return reason


def ranks(scores: Iterable[Tensor], m: int, *, both: bool) -> bool:
    """Return whether the kernel makes the masks of these scores: of blocks that are m x m, or rows of m."""
    return m in (ALONG_BOTH if both else ALONG_INPUTS) and all(map(_suits, scores)) and not missing()


def along_inputs(score: Tensor, n: int, m: int) -> Tensor:
    """Return the mask, float32 and channels-last, that ``NofM.strict`` gives for scores that the kernel ``ranks``.

    Raises:
        ValueError: a score is not finite.
    """
    kept = torch.empty_like(score)
    if not library().along_inputs(score.data_ptr(), kept.data_ptr(), score.numel() // m, n, m):
        check_finite(score)
    return kept


def along_both(score: Tensor, n: int, m: int) -> Tensor:
    """Return the mask, float32 and channels-last, of ``transposable.keep_all`` for scores that the kernel ``ranks``.

    Raises:
        ValueError: a score is not finite.
    """
    kept, outputs = torch.empty_like(score), len(score)
    choices, rows = transposable.patterns(n, m)
    masks = _Masks(choices=choices.data_ptr(), rows=rows.data_ptr(), choice_count=len(choices), count=len(rows), n=n)
    groups = score.numel() // (outputs * m)
    if not library().along_both(score.data_ptr(), kept.data_ptr(), ctypes.byref(masks), outputs, groups, m):
        check_finite(score)
    return kept


def _suits(score: Tensor) -> bool:
    return score.device.type == "cpu" and score.dtype == torch.float32 and score.movedim(1, -1).is_contiguous()


def _is_exact() -> bool:
    """Return whether the kernel gives PyTorch's masks of scores with and without ties, of every M."""
    generator = torch.Generator().manual_seed(0)
    for m in {*ALONG_INPUTS, *ALONG_BOTH}:
        numbers = torch.rand(4 * m, 3, 3, 5 * m, generator=generator)
        numbers[: 2 * m] = (3.0 * numbers[: 2 * m]).round()
        score = numbers.movedim(-1, 1)
        alone = {"": score}
        for n in {1, m // 2, m - 1}:
            if m in ALONG_INPUTS and not torch.equal(along_inputs(score, n, m), NofM(n, m).strict(alone)[""]):
                return False
            if m in ALONG_BOTH and not torch.equal(along_both(score, n, m), transposable.keep_all(alone, n, m)[""]):
                return False
    return True
