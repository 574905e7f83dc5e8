"""What the verdict of a claim is worth: the gain that it would have found, and how often it would be wrong.

Computed, not simulated, under what the judge itself assumes: runs are normal and independent, all cells of a framework
spread alike, and the estimated spread is the true one. A pair's gain is then a difference of two cells' means; the
pairs of a framework share cells and the estimate of the spread, and frameworks share nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from bench.judging.power import WANTED_POWER, Array, chi

_QUANTILES = 200  # mid-points; the probabilities are then exact to about 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """The cells of one framework that a claim compares: every left one with every right one.

    Attributes:
        lefts: how many cells are claimed to be better.
        rights: how many cells each left one is compared with.
        sd: from seed to seed within a cell, in percentage points.
        degrees: of freedom of the sd.
        runs: seeds that both cells of a pair share; the fewest of all pairs.
    """

    lefts: int
    rights: int
    sd: float
    degrees: int
    runs: int

    def holds(self, gain: float, alpha: float) -> float:
        """Return the chance that every pair surely exceeds what is claimed, if each truly exceeds it by ``gain``."""
        return self._all_above(gain, self._needed(alpha))

    def falls_short(self, gain: float, alpha: float) -> float:
        """Return the chance that some pair surely falls short, if each truly exceeds what is claimed by ``gain``."""
        return 1.0 - self._all_above(gain, -self._needed(alpha))

    def _needed(self, alpha: float) -> Array:
        """Return quantiles, shape (_QUANTILES,), of the difference that a test at ``alpha`` asks for.

        In units of one mean's standard error, as everything below.
        """
        return math.sqrt(2.0) * -special.stdtrit(self.degrees, alpha) * chi(self.degrees, _QUANTILES)

    def _all_above(self, gain: float, least: Array) -> float:
        """Return the chance that the lowest left mean exceeds the highest right mean by ``least``."""
        if self.sd == 0.0:
            return float(gain > 0.0 if least[0] > 0.0 else gain >= 0.0)
        shift = gain * math.sqrt(self.runs) / self.sd
        levels = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
        highest = special.ndtri(levels ** (1.0 / self.rights))
        return float((special.ndtr(shift - highest[:, None] - least[None, :]) ** self.lefts).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimPower:
    """What the verdict of a claim is worth.

    Attributes:
        smallest_gain: points beyond what is claimed; if every pair truly exceeds it by as much, the claim is called
            REPRODUCED with a chance of 80 %.
        false_reproduced: chance of REPRODUCED if every pair lies exactly at what is claimed.
        false_deviates: chance of DEVIATES if every pair lies exactly at what is claimed.
    """

    smallest_gain: float
    false_reproduced: float
    false_deviates: float


def claim_power(contests: Sequence[Contest], *, alpha: float) -> ClaimPower:
    """Return what the verdict of a claim is worth.

    Args:
        contests: one per framework; the claim has to hold in all.
        alpha: level of each one-sided test, Holm's hardest step where claims are corrected.
    """
    pairs = sum(contest.lefts * contest.rights for contest in contests)

    def reproduced(gain: float) -> float:
        return math.prod(contest.holds(gain, alpha) for contest in contests)

    keeps = (1.0 - contest.falls_short(0.0, alpha / pairs) for contest in contests)
    return ClaimPower(
        smallest_gain=_smallest(lambda gain: reproduced(gain) - WANTED_POWER),
        false_reproduced=reproduced(0.0),
        false_deviates=1.0 - math.prod(keeps),
    )


def _smallest(excess: Callable[[float], float]) -> float:
    """Return where a rising function of a gain in points crosses 0, or 0 where it is positive at once."""
    high = 1e-6
    if excess(high) >= 0.0:
        return 0.0
    while excess(high) < 0.0:
        high *= 2.0
    return float(optimize.brentq(excess, high / 2.0, high, xtol=1e-6))
