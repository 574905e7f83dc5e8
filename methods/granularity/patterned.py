"""N:M masks of a whole network, along the inputs or along both channels."""

from collections.abc import Mapping

import torch
from torch import Tensor

from methods.granularity import transposable as both_ways
from methods.granularity.n_of_m import NofM


def patterned(strength: Mapping[str, Tensor], pattern: NofM, *, transposable: bool) -> dict[str, Tensor]:
    """Return N:M masks of the highest scores; all ones where the pattern does not fit."""
    fitting = {name: score for name, score in strength.items() if pattern.fits(score.shape)}
    kept = both_ways.keep_all(fitting, pattern.n, pattern.m) if transposable else pattern.strict(fitting)
    return {
        name: kept[name].float()
        if name in kept
        else torch.ones_like(score, dtype=torch.float32, memory_format=torch.contiguous_format)
        for name, score in strength.items()
    }
