"""Whether our own runs bear a claim out.

Each pair of cells gives a seed-paired difference; the verdict rests on all of them together.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.config.cell import framework_of
from bench.config.run import UNTRAINED
from bench.judging.claim_power import ClaimPower, Contest, claim_power
from bench.judging.claims import Claim, Claims
from bench.judging.contrast import base_of
from bench.judging.statistics import MOST_SEEDS, Comparison, Spread, compare, fewest_runs, holm, pooled_spread
from bench.judging.verdict import Judgement, Verdict

Values = Mapping[str, Mapping[int, float]]  # cell -> seed -> percent, of one metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A pair of cells and the mean of its seed-paired differences, in percentage points.

    Attributes:
        left: the cell that is claimed to be better.
        right: the cell that it is compared with.
        comparison: left minus right; less the same difference of the framework beside, where there is one.
        beside: the two cells of this framework; none where there is no such framework.
    """

    left: str
    right: str
    comparison: Comparison
    beside: tuple[str, ...] = ()

    @property
    def cells(self) -> tuple[str, ...]:
        """All cells that the difference is made of."""
        return (self.left, self.right, *self.beside)

    def __str__(self) -> str:
        less = f" - ({' - '.join(self.beside)})" if self.beside else ""
        return f"{self.left} - {self.right}{less}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedClaim:
    """A claim, what was found, and the verdict: REPRODUCED means that it holds in our runs.

    Attributes:
        claim: what was judged.
        judgement: verdict and reason.
        pairs: the cells that were compared; none where nothing was judged.
        level: of each one-sided test, at Holm's hardest step where the claim is corrected; 0 where nothing was judged.
        settled_by: seeds a cell that would settle an INCONCLUSIVE claim, if its differences stayed as they are; None
            where nothing is open, or where no number of seeds is known to be enough.
    """

    claim: Claim
    judgement: Judgement
    pairs: tuple[Pair, ...] = ()
    level: float = 0.0
    settled_by: int | None = None

    @property
    def worst(self) -> Pair | None:
        """The pair with the smallest gain: what the claim stands or falls with; None where nothing was judged."""
        return min(self.pairs, key=lambda pair: pair.comparison.difference, default=None)

    @property
    def power(self) -> ClaimPower | None:
        """What the verdict is worth; None where nothing was judged. Computed at every call.

        Differences beside one framework share its runs, which makes them all large or all small together. What is
        computed as if they shared nothing is then too large, but for the chance of a false REPRODUCED: of this, the
        bound is told that every test of all pairs together keeps.
        """
        if not self.pairs:
            return None
        power = claim_power(_contests(self.pairs), alpha=self.level)
        return replace(power, false_reproduced=self.level) if self.claim.beside else power

    @property
    def seeds(self) -> int:
        """How many seeds bear the verdict: the fewest that the cells of a pair share."""
        return min((pair.comparison.new_runs for pair in self.pairs), default=0)


def judge_claims(
    claims: Claims, profile: str, values: Mapping[str, Values], cells: Sequence[str]
) -> tuple[JudgedClaim, ...]:
    """Judge every claim.

    Differences are paired by seed; their standard error is ``sd sqrt(2 / n)`` with the sd within cells,
    pooled over the cells of the framework. (Cells of equal seed share images and views, so the true error is
    rather smaller: this errs towards INCONCLUSIVE.) Beside another framework, the variances of both add up, and the
    fewer degrees of freedom count. A claim holds if *every* pair exceeds the least gain
    (intersection-union test, Berger 1982: no correction among pairs) and deviates if *some* pair surely
    falls short of it (corrected by the number of pairs). Holm corrects the claims of the profile that are not
    primary, those without runs among them. A claim
    never holds by cells that lie below an encoder which took no step.

    Args:
        claims: about one table.
        profile: of the runs.
        values: metric -> cell -> seed -> percent.
        cells: of the whole table, run or not: a claim about all frameworks is not judged by some.
    """
    pairs = {claim.name: _pairs(claim, profile, values.get(claim.metric, {}), cells) for claim in claims.claims}
    tests = _tests([claim for claim in claims.claims if profile in claim.profiles], pairs, claims.alpha)
    return tuple(
        _judged(
            claim,
            pairs[claim.name],
            beneath=_beneath(pairs[claim.name], values[claim.metric]),
            test=tests[claim.name],
        )
        if pairs[claim.name]
        else JudgedClaim(claim=claim, judgement=_not_judged(claim, profile))
        for claim in claims.claims
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    """The p-values of a claim, corrected by Holm unless it is primary, and the level of Holm's first, hardest step."""

    holds_p: float
    fails_p: float
    alpha: float
    hardest: float


def _tests(judged: Sequence[Claim], pairs: Mapping[str, Sequence[Pair]], alpha: float) -> dict[str, _Test]:
    """Return the tests of the claims that a profile can bear, by name.

    Holm corrects over all that are not primary, judged or not: a claim without runs takes its place with p = 1, so that
    no verdict hangs on which of its sisters happen to have been run.
    """
    others = [claim.name for claim in judged if not claim.is_primary]
    holds = {claim.name: _holds_p(claim, pairs[claim.name]) if pairs[claim.name] else 1.0 for claim in judged}
    fails = {claim.name: _fails_p(claim, pairs[claim.name]) if pairs[claim.name] else 1.0 for claim in judged}
    for p_values in (holds, fails):
        p_values.update(zip(others, holm([p_values[name] for name in others]), strict=True))
    return {
        claim.name: _Test(
            holds_p=holds[claim.name],
            fails_p=fails[claim.name],
            alpha=alpha,
            hardest=alpha if claim.is_primary else alpha / len(others),
        )
        for claim in judged
    }


def _judged(claim: Claim, pairs: tuple[Pair, ...], *, beneath: Sequence[str], test: "_Test") -> JudgedClaim:
    """Return the verdict; no gain over or of ``beneath``, cells that learnt nothing, is one."""
    worst = min(pairs, key=lambda pair: pair.comparison.difference)
    found = (
        f"The smallest gain is {worst.comparison.difference:+.2f} points (against {worst.right}{_beyond(worst)}), "
        f"claimed is more than {claim.least_gain_points:+.2f}"
    )
    settled_by = None
    if test.holds_p < test.alpha and beneath:
        reason = f"{found}; but below an encoder that took no step, where gains say nothing, lie {', '.join(beneath)}."
        judgement = Judgement(verdict=Verdict.INCONCLUSIVE, reason=reason)
    elif test.holds_p < test.alpha:
        judgement = Judgement(verdict=Verdict.REPRODUCED, reason=f"p = {test.holds_p:.2g}.")
    elif test.fails_p < test.alpha:
        judgement = Judgement(verdict=Verdict.DEVIATES, reason=f"{found}; p = {test.fails_p:.2g}.")
    else:
        settled_by = _settled_by(claim, pairs, test.hardest)
        wanted = f"about n = {settled_by}" if settled_by is not None else f"not even {MOST_SEEDS}"
        reason = f"{found}; {wanted} seeds would settle it at this difference."
        judgement = Judgement(verdict=Verdict.INCONCLUSIVE, reason=reason)
    return JudgedClaim(claim=claim, judgement=judgement, pairs=pairs, level=test.hardest, settled_by=settled_by)


def _beyond(pair: Pair) -> str:
    return f", beyond the gain in {framework_of(pair.beside[0])}" if pair.beside else ""


def _pairs(claim: Claim, profile: str, values: Values, cells: Sequence[str]) -> tuple[Pair, ...]:
    """Return the pairs to compare: none where the profile cannot bear the claim, or not all of them can be."""
    pairs = [(*pair, *claim.cells_beside(pair)) for pair in claim.pairs(cells)] if profile in claim.profiles else []
    if not all(_shared(values, each) for each in pairs):
        return ()
    groups: defaultdict[str, list[list[float]]] = defaultdict(list)
    for cell, runs in values.items():
        groups[framework_of(cell)].append(list(runs.values()))
    if not all(any(len(runs) > 1 for runs in groups[framework_of(cell)]) for each in pairs for cell in each):
        return ()
    spreads = {framework: pooled_spread(runs) for framework, runs in groups.items() if any(len(r) > 1 for r in runs)}
    return tuple(_pair(each, values, spreads) for each in pairs)


def _shared(values: Values, cells: Sequence[str]) -> list[int]:
    """Return the seeds that all cells have."""
    return sorted(set.intersection(*(set(values.get(cell, {})) for cell in cells)))


def _pair(cells: Sequence[str], values: Values, spreads: Mapping[str, Spread]) -> Pair:
    """Return the difference of two cells, or of two and of two more of another framework."""
    left, right, *beside = cells
    seeds = _shared(values, cells)

    def difference(first: str, second: str) -> Comparison:
        new, reference = ([values[cell][seed] for seed in seeds] for cell in (first, second))
        return compare(new, reference, spreads[framework_of(first)])

    found = difference(left, right)
    if beside:
        other = difference(*beside)
        spread = Spread(math.hypot(found.spread.sd, other.spread.sd), min(found.spread.degrees, other.spread.degrees))
        found = replace(found, difference=found.difference - other.difference, spread=spread)
    return Pair(left=left, right=right, comparison=found, beside=tuple(beside))


def _holds_p(claim: Claim, pairs: Sequence[Pair]) -> float:
    return max(pair.comparison.exceeds_p(claim.least_gain_points) for pair in pairs)


def _fails_p(claim: Claim, pairs: Sequence[Pair]) -> float:
    return min(1.0, len(pairs) * min(pair.comparison.falls_short_p(claim.least_gain_points) for pair in pairs))


def _settled_by(claim: Claim, pairs: Sequence[Pair], level: float) -> int | None:
    """Count seeds by the corrections that are sure to be enough: by the pairs, and by the claims not primary."""

    def is_settled(seeds: int) -> bool:
        more = [replace(pair, comparison=pair.comparison.with_runs(seeds, seeds)) for pair in pairs]
        return min(_holds_p(claim, more), _fails_p(claim, more)) < level

    return fewest_runs(is_settled, min(pair.comparison.new_runs for pair in pairs))


def _contests(pairs: Sequence[Pair]) -> list[Contest]:
    """Return the pairs framework by framework."""
    groups: defaultdict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[framework_of(pair.left)].append(pair)
    return [
        Contest(
            lefts=len({pair.left for pair in found}),
            rights=len({pair.right for pair in found}),
            sd=found[0].comparison.spread.sd,
            degrees=found[0].comparison.spread.degrees,
            runs=min(pair.comparison.new_runs for pair in found),
        )
        for found in groups.values()
    ]


def _beneath(pairs: Sequence[Pair], values: Values) -> list[str]:
    """Return the compared cells whose mean lies below that of the untrained encoder, where it is known."""
    means = {cell: math.fsum(runs.values()) / len(runs) for cell, runs in values.items() if runs}
    compared = dict.fromkeys(cell for pair in pairs for cell in pair.cells)
    floors = {cell: base_of(cell, UNTRAINED, means) for cell in compared}
    return [cell for cell, floor in floors.items() if floor is not None and means[cell] < means[floor]]


def _not_judged(claim: Claim, profile: str) -> Judgement:
    too_few = (
        "Needs, in every framework of the table, a seed run in all cells that it compares (reductions of MACs met, "
        "where they were asked for), and two seeds in some cell."
    )
    return Judgement(verdict=Verdict.NOT_JUDGED, reason=claim.not_judged.get(profile, too_few))
