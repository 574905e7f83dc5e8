"""N:M masks of a whole network, along the inputs or along both channels."""

from collections.abc import Mapping

import torch
from torch import Tensor

from methods.granularity import compiled
from methods.granularity import transposable as both_ways
from methods.granularity.n_of_m import NofM


def patterned(strength: Mapping[str, Tensor], pattern: NofM, *, transposable: bool) -> dict[str, Tensor]:
    """Return bool N:M masks of the highest scores, channels-last; where the pattern does not fit, all ones.

    Raises:
        ValueError: a score is not finite; or as ``transposable.require_blocks``.
    """
    n, m = pattern.n, pattern.m
    fitting = {name: score for name, score in strength.items() if pattern.fits(score.shape)}
    if transposable:
        both_ways.require_blocks(fitting, n, m)
    if compiled.ranks(fitting.values(), m, both=transposable):
        solved = compiled.along_both if transposable else compiled.along_inputs
        kept = {name: solved(score, n, m) for name, score in fitting.items()}
    else:
        kept = both_ways.keep_all(fitting, n, m) if transposable else pattern.strict(fitting)
    return {
        name: kept[name] if name in kept else torch.ones_like(score, dtype=torch.bool)
        for name, score in strength.items()
    }
