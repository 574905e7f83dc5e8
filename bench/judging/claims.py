"""What the papers claim, as relations between cells, and whether our runs bear it out.

A claim compares us with a paper; a reference compares us with our own stored runs. They are never mixed: no
claim changes a cell's verdict or the exit code. A paper that does not hold is a result, not a failure.
"""

import fnmatch
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.config.cell import framework_of
from bench.config.profiles import PROFILES
from bench.files import ROOT
from bench.judging.claimed_cells import cells_of, require_cells
from bench.judging.settings import SettingsError, known, level, once, placed, read
from bench.judging.statistics import MOST_SEEDS, Comparison, Spread, compare, fewest_runs, holm, pooled_spread
from bench.judging.verdict import Judgement, Verdict
from bench.runs.record import METRICS

CLAIMS = ROOT / "results" / "claims"
SourceKind = Literal["abstract", "code", "summary", "talk"]
Values = Mapping[str, Mapping[int, float]]  # cell -> seed -> percent, of one metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One relation a work claims: ``mean(left) - mean(right) > least_gain_points``, for every pair.

    Attributes:
        name: short, unique in its file.
        work: title of the work.
        source: citation.
        source_kind: how much of the work we could read.
        statement: as published, word for word.
        is_primary: judged without correction; exactly one per work and table, fixed before the runs.
        metric: which of the record's metrics.
        left: glob over cells.
        right: globs over cells; each left cell is paired with the right cells of its framework.
        least_gain_points: 0 is "better than"; negative is "at most so much worse than".
        profiles: where the claim can be judged.
        not_judged: for every other profile, why not.
    """

    name: str
    work: str
    source: str
    source_kind: SourceKind
    statement: str
    is_primary: bool
    metric: str
    left: str
    right: tuple[str, ...]
    least_gain_points: float
    profiles: tuple[str, ...]
    not_judged: Mapping[str, str]

    def __post_init__(self) -> None:
        declared = sorted((*self.profiles, *self.not_judged))
        if declared != sorted(PROFILES):
            raise SettingsError(
                f"claim {self.name}: profiles and not_judged name {', '.join(declared) or 'nothing'}; "
                f"together they must name each of {', '.join(PROFILES)} once."
            )
        known(METRICS, metric=self.metric)
        once("opponent, an entry of right,", self.right, "Leave one out.")
        if not math.isfinite(self.least_gain_points):
            raise SettingsError(f"least_gain_points is {self.least_gain_points}; it must be finite.")

    def pairs(self, cells: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Return the pairs (left cell, right cell) of one framework that the claim speaks about.

        None at all where a left cell lacks an opponent: half a claim must not be taken for the whole.
        """
        found: list[tuple[str, str]] = []
        for left in fnmatch.filter(cells, self.left):
            framework = framework_of(left)
            for glob in self.right:
                rivals = [cell for cell in fnmatch.filter(cells, glob) if cell.startswith(f"{framework}/")]
                if not rivals:
                    return ()
                found += [(left, right) for right in rivals if right != left]
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A pair of cells and the mean of its seed-paired differences, in percentage points."""

    left: str
    right: str
    comparison: Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedClaim:
    """A claim, what was found, and the verdict: REPRODUCED means that it holds in our runs."""

    claim: Claim
    judgement: Judgement
    pairs: tuple[Pair, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The claims about one table. ``alpha`` is the level of each one-sided test."""

    alpha: float
    claims: tuple[Claim, ...]

    def __post_init__(self) -> None:
        level(alpha=self.alpha)
        once("claim", [claim.name for claim in self.claims], "Give each a name of its own.")
        for work in dict.fromkeys(claim.work for claim in self.claims):
            primary = [claim.name for claim in self.claims if claim.work == work and claim.is_primary]
            if len(primary) != 1:
                raise SettingsError(f"{work}: {len(primary)} primary claims; declare exactly one before the runs.")

    def judge(self, profile: str, values: Mapping[str, Values], cells: Sequence[str]) -> tuple[JudgedClaim, ...]:
        """Judge every claim.

        Differences are paired by seed; their standard error is ``sd sqrt(2 / n)`` with the sd within cells,
        pooled over the cells of the framework. (Cells of equal seed share images and views, so the true error is
        rather smaller: this errs towards INCONCLUSIVE.) A claim holds if *every* pair exceeds the least gain
        (intersection-union test, Berger 1982: no correction among pairs) and deviates if *some* pair surely
        falls short of it (corrected by the number of pairs). Holm corrects the claims that are not primary.

        Args:
            profile: of the runs.
            values: metric -> cell -> seed -> percent.
            cells: of the whole table, run or not: a claim about all frameworks is not judged by some.
        """
        pairs = {claim.name: _pairs(claim, profile, values.get(claim.metric, {}), cells) for claim in self.claims}
        judged = [claim for claim in self.claims if pairs[claim.name]]
        others = [claim for claim in judged if not claim.is_primary]
        holds = {claim.name: _holds_p(claim, pairs[claim.name]) for claim in judged}
        fails = {claim.name: _fails_p(claim, pairs[claim.name]) for claim in judged}
        for p_values in (holds, fails):
            corrected = holm([p_values[claim.name] for claim in others])
            p_values |= {claim.name: p for claim, p in zip(others, corrected, strict=True)}
        return tuple(
            JudgedClaim(
                claim=claim,
                judgement=self._judgement(
                    claim, pairs[claim.name], holds[claim.name], fails[claim.name], together=len(others)
                )
                if claim in judged
                else _not_judged(claim, profile),
                pairs=pairs[claim.name],
            )
            for claim in self.claims
        )

    def _judgement(
        self, claim: Claim, pairs: Sequence[Pair], holds_p: float, fails_p: float, *, together: int
    ) -> Judgement:
        if holds_p < self.alpha:
            return Judgement(verdict=Verdict.REPRODUCED, reason=f"p = {holds_p:.2g}.")
        worst = min(pairs, key=lambda pair: pair.comparison.difference)
        found = (
            f"The smallest gain is {worst.comparison.difference:+.2f} points (against {worst.right}), "
            f"claimed is more than {claim.least_gain_points:+.2f}"
        )
        if fails_p < self.alpha:
            return Judgement(verdict=Verdict.DEVIATES, reason=f"{found}; p = {fails_p:.2g}.")
        return Judgement(
            verdict=Verdict.INCONCLUSIVE, reason=f"{found}; {self._way_out(claim, worst, len(pairs), together)}"
        )

    def _way_out(self, claim: Claim, worst: Pair, pairs: int, together: int) -> str:
        """Count seeds by the corrections that are sure to be enough: by the pairs, and by the claims not primary."""

        def is_settled(seeds: int) -> bool:
            candidate, gain = worst.comparison.with_runs(seeds, seeds), claim.least_gain_points
            p_value = min(candidate.exceeds_p(gain), pairs * candidate.falls_short_p(gain))
            return p_value < self.alpha / (1 if claim.is_primary else together)

        seeds = fewest_runs(is_settled, worst.comparison.new_runs)
        wanted = f"about n = {seeds}" if seeds is not None else f"not even {MOST_SEEDS}"
        return f"{wanted} seeds would settle it at this difference."


def load_claims(table: str, folder: Path = CLAIMS) -> Claims:
    """Read the claims about a table, strictly.

    Raises:
        SettingsError: the file is missing, unreadable, or has unknown, missing or impossible entries.
    """
    path = folder / f"{table}.toml"
    file = read(_File, path)
    with placed(path):
        for claim in file.claim:
            with placed(f"claim {claim.name}"):
                require_cells(table, claim.profiles, (claim.left, *claim.right))
                _require_opponents(claim, table)
        return Claims(alpha=file.alpha, claims=file.claim)


def _require_opponents(claim: Claim, table: str) -> None:
    for profile in claim.profiles:
        if not claim.pairs(cells_of(table, profile)):
            raise SettingsError(
                f"at profile {profile}, a framework of left has no cell of {', '.join(claim.right)}: half a claim is "
                "never judged. Name the frameworks in left, or add the rows."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """The layout of a table's claims."""

    alpha: float
    claim: tuple[Claim, ...]


def _pairs(claim: Claim, profile: str, values: Values, cells: Sequence[str]) -> tuple[Pair, ...]:
    """Return the pairs to compare: none where the profile cannot bear the claim, or not all of them can be."""
    pairs = claim.pairs(cells) if profile in claim.profiles else ()
    if not all(values.get(left, {}).keys() & values.get(right, {}).keys() for left, right in pairs):
        return ()
    groups: defaultdict[str, list[list[float]]] = defaultdict(list)
    for cell, runs in values.items():
        groups[framework_of(cell)].append(list(runs.values()))
    if not all(any(len(runs) > 1 for runs in groups[framework_of(left)]) for left, _ in pairs):
        return ()
    spreads = {framework: pooled_spread(runs) for framework, runs in groups.items() if any(len(r) > 1 for r in runs)}
    return tuple(_pair(left, right, values, spreads[framework_of(left)]) for left, right in pairs)


def _pair(left: str, right: str, values: Values, spread: Spread) -> Pair:
    seeds = sorted(values[left].keys() & values[right].keys())
    comparison = compare([values[left][seed] for seed in seeds], [values[right][seed] for seed in seeds], spread)
    return Pair(left=left, right=right, comparison=comparison)


def _holds_p(claim: Claim, pairs: Sequence[Pair]) -> float:
    return max(pair.comparison.exceeds_p(claim.least_gain_points) for pair in pairs)


def _fails_p(claim: Claim, pairs: Sequence[Pair]) -> float:
    return min(1.0, len(pairs) * min(pair.comparison.falls_short_p(claim.least_gain_points) for pair in pairs))


def _not_judged(claim: Claim, profile: str) -> Judgement:
    globs = f"{claim.left} and {', '.join(claim.right)}"
    too_few = (
        f"Needs, in every framework of the table, a seed run in all cells that match {globs} (reductions of MACs met, "
        "where they were asked for), and two seeds in some cell."
    )
    return Judgement(verdict=Verdict.NOT_JUDGED, reason=claim.not_judged.get(profile, too_few))


__all__ = ["CLAIMS", "Claim", "Claims", "JudgedClaim", "Pair", "load_claims"]
