"""N:M masks of a whole network, along the inputs or along both channels."""

from collections.abc import Mapping

import torch
from torch import Tensor

from methods import scores
from methods.granularity import compiled
from methods.granularity import transposable as both_ways
from methods.granularity.n_of_m import NofM


def patterned(weights: Mapping[str, Tensor], pattern: NofM, *, transposable: bool) -> dict[str, Tensor]:
    """Return bool N:M masks of the largest weights, channels-last; where the pattern does not fit, all ones.

    Raises:
        ValueError: a weight is not finite; or as ``transposable.require_blocks``.
    """
    n, m = pattern.n, pattern.m
    fitting = {name: weight for name, weight in weights.items() if pattern.fits(weight.shape)}
    if transposable:
        both_ways.require_blocks(fitting, n, m)
    if compiled.ranks(fitting.values(), m, both=transposable):
        solved = compiled.along_both if transposable else compiled.along_inputs
        kept = {name: solved(weight, n, m) for name, weight in fitting.items()}
    else:
        strength = scores.magnitude(fitting)
        kept = both_ways.keep_all(strength, n, m) if transposable else pattern.strict(strength)
    return {
        name: kept[name] if name in kept else torch.ones_like(weight, dtype=torch.bool)
        for name, weight in weights.items()
    }
