"""N:M masks of a whole network, along the inputs or along both channels."""

from collections.abc import Mapping

import torch
from torch import Tensor

from methods.granularity import transposable as both_ways
from methods.granularity.n_of_m import NofM


def patterned(strength: Mapping[str, Tensor], pattern: NofM, *, transposable: bool) -> dict[str, Tensor]:
    """Return N:M masks of the highest scores; all ones where the pattern does not fit."""
    masks = {name: torch.ones_like(score, memory_format=torch.contiguous_format) for name, score in strength.items()}
    for name, score in strength.items():
        if pattern.fits(score.shape):
            count = pattern.attainable(score.shape, pattern.density(0.0))
            kept = both_ways.keep(score, pattern.n, pattern.m) if transposable else pattern.keep(score, count)
            masks[name] = kept.float()
    return masks
