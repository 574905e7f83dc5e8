"""The compiled kernel behind N:M masks of scores that lie channels-last on a CPU: ``patterns.cpp``.

No compiler is believed: before a process takes its first masks from the kernel, made-up scores go both ways, and if a
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
    return native.doubted(library, _is_exact, "N:M masks")


def ranks(scores: Iterable[Tensor], m: int, *, both: bool) -> bool:
    """Return whether the kernel makes the masks of these scores: of blocks that are m x m, or rows of m."""
    return m in (ALONG_BOTH if both else ALONG_INPUTS) and all(map(_suits, scores)) and not missing()


def along_inputs(score: Tensor, n: int, m: int) -> Tensor:
    """Return the mask, bool and channels-last, that ``NofM.strict`` gives for scores that the kernel ``ranks``.

    Raises:
        ValueError: a score is not finite.
    """
    kept = torch.empty_like(score, dtype=torch.bool)
    if not library().along_inputs(score.data_ptr(), kept.data_ptr(), score.numel() // m, n, m):
        check_finite(score)
    return kept


def along_both(score: Tensor, n: int, m: int) -> Tensor:
    """Return the mask, bool and channels-last, of ``transposable.keep_all`` for scores that the kernel ``ranks``.

    Raises:
        ValueError: a score is not finite.
    """
    kept, outputs = torch.empty_like(score, dtype=torch.bool), len(score)
    choices, rows = transposable.patterns(n, m)
    masks = _Masks(choices=choices.data_ptr(), rows=rows.data_ptr(), choice_count=len(choices), count=len(rows), n=n)
    groups = score.numel() // (outputs * m)
    if not library().along_both(score.data_ptr(), kept.data_ptr(), ctypes.byref(masks), outputs, groups, m):
        check_finite(score)
    return kept


def _suits(score: Tensor) -> bool:
    is_plain = type(score) in {Tensor, nn.Parameter} and score.device.type == "cpu" and score.dtype == torch.float32
    return is_plain and score.movedim(1, -1).is_contiguous()


def _is_exact() -> bool:
    """Return whether the kernel gives PyTorch's masks, of every M, and refuses what has no order."""
    return all(_agrees(n, m) and _refuses(n, m) for m in {*ALONG_INPUTS, *ALONG_BOTH} for n in {1, m // 2, m - 1})


def _agrees(n: int, m: int) -> bool:
    """Return whether masks are the same: of scores with ties, and of some whose sums hang on precision and order."""
    score = _made_up(m)
    score[:m] = (3.0 * score[:m]).round()
    score[m : 2 * m] = (64.0 * (score[m : 2 * m] - 0.5)).exp()
    alone = {"": score}
    return (m not in ALONG_INPUTS or torch.equal(along_inputs(score, n, m), NofM(n, m).strict(alone)[""])) and (
        m not in ALONG_BOTH or torch.equal(along_both(score, n, m), transposable.keep_all(alone, n, m)[""])
    )


def _refuses(n: int, m: int) -> bool:
    """Return whether NaN and both infinities are seen: compilers can be told that there are none."""
    for bad, (way, sides) in itertools.product(
        (math.nan, math.inf, -math.inf), ((along_inputs, ALONG_INPUTS), (along_both, ALONG_BOTH))
    ):
        score = _made_up(m)
        score[m, m, 1, 1] = bad
        try:
            if m in sides:
                way(score, n, m)
                return False
        except ValueError:
            pass
    return True


def _made_up(m: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.rand(3 * m, 3, 3, 5 * m, generator=generator, dtype=torch.float32, device="cpu")
    return numbers.movedim(-1, 1)
