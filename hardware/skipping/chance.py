"""Binomial draws: what a mask costs on average when only its density is known. Exact, no approximation."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@lru_cache(maxsize=4096)
def binomial(draws: int, probability: float) -> Vector:
    """Return P(X = 0 ... draws) of X ~ Binomial(draws, probability). Shape (draws + 1,); do not write to it."""
    if probability in {0.0, 1.0}:
        certain = np.zeros(draws + 1)
        certain[draws if probability else 0] = 1.0
        return certain
    hits = np.arange(draws + 1)
    ways = _log_factorials(draws)
    log_ways = ways[draws] - ways - ways[::-1]
    log_pmf: Vector = log_ways + hits * math.log(probability) + (draws - hits) * math.log1p(-probability)
    return np.exp(log_pmf)


def largest(pmf: Vector, copies: int) -> Vector:
    """Return the distribution of the largest of ``copies`` independent draws from ``pmf``."""
    return np.diff(np.minimum(np.cumsum(pmf), 1.0) ** copies, prepend=0.0)


@lru_cache(maxsize=65536)
def expected_largest(lanes: tuple[tuple[int, int], ...], probability: float) -> float:
    """Return E[max] over independent Binomial(draws, probability), for (draws, number of lanes) pairs.

    E[max] = sum over x >= 0 of 1 - P(all <= x).
    """
    most = max(draws for draws, copies in lanes if copies)
    if probability in {0.0, 1.0}:
        return most * probability
    all_below = np.ones(most)
    for draws, copies in lanes:
        if copies:
            below = np.ones(most)
            below[:draws] = np.minimum(np.cumsum(binomial(draws, probability)), 1.0)[:draws]
            all_below *= below**copies
    return float(np.sum(1.0 - all_below))


@lru_cache(maxsize=256)
def _log_factorials(most: int) -> Vector:
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, most + 1)))))
