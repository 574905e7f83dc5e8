"""Exchange: some active weights, or blocks, of a layer make room for as many others (prune-and-regrow)."""

import math

import torch
from torch import Tensor

from methods.granularity.base import Granularity
from methods.granularity.element import Elementwise

_ELEMENTWISE = Elementwise()


def exchange(
    mask: Tensor, strength: Tensor, growth: Tensor, fraction: float, granularity: Granularity = _ELEMENTWISE
) -> Tensor:
    """Return a mask with as many ones as ``mask``, of which ``floor(fraction * ones)`` were chosen anew.

    The weakest active weights go; the positions with the highest growth score among all that are then
    inactive come. A weight that was just dropped may therefore come straight back (Evci et al. 2020, RigL).
    Only active weights can be dropped: published code ranks the stale values of inactive ones too.

    Blocks and filters are exchanged as a whole, by the sums of their scores (ours).

    Args:
        mask: float32, any shape, entries 0 or 1.
        strength: the mask's shape; which active weights to keep.
        growth: the mask's shape; which inactive positions to add. Must come from the dense gradient: the
            masked gradient is exactly 0 at every inactive position.
        fraction: how many of the active weights to exchange, in [0, 1]; 0 changes nothing.
        granularity: of the mask; must fit it.

    Raises:
        ValueError: if the fraction is outside [0, 1], a score that is looked at is not finite, or the granularity
            does not consist of whole units.
    """
    return grow(drop(mask, strength, fraction, granularity), mask, growth, granularity)


def drop(mask: Tensor, strength: Tensor, fraction: float, granularity: Granularity = _ELEMENTWISE) -> Tensor:
    """Return the mask without its weakest ``floor(fraction * ones)`` ones: the first half of ``exchange``.

    Raises:
        ValueError: as ``exchange``.
    """
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"cannot exchange a fraction of {fraction} of the active weights: use one in [0, 1].")
    if not granularity.is_whole:
        raise ValueError(f"{granularity.name} has no units to exchange: a part of each group stays in any case.")
    active = granularity.pooled(mask).bool()
    units = int(active.count_nonzero())
    dropped = math.floor(fraction * units)
    if dropped == 0:
        return mask.clone()
    kept = _keep_among(active, granularity.pooled(strength), units - dropped)
    return granularity.spread(kept, mask.shape).float()


def grow(kept: Tensor, mask: Tensor, growth: Tensor, granularity: Granularity = _ELEMENTWISE) -> Tensor:
    """Return what ``drop`` kept of a mask, with as many ones again as the mask had: the second half of ``exchange``.

    Raises:
        ValueError: as ``exchange``.
    """
    stays, active = (granularity.pooled(each).bool() for each in (kept, mask))
    missing = int(active.count_nonzero()) - int(stays.count_nonzero())
    if missing == 0:
        return kept
    grown = _keep_among(~stays, granularity.pooled(growth), missing)
    return granularity.spread(stays | grown, mask.shape).float()


def _keep_among(candidates: Tensor, score: Tensor, count: int) -> Tensor:
    """Return a bool mask of the ``count`` highest scores among the candidates; ties to the lowest index."""
    kept = torch.zeros_like(candidates)
    kept[candidates] = Elementwise().keep(score[candidates], count)
    return kept
