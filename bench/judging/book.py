"""Every claim about a table at one size: judged by all the evidence, with what is still to be run."""

from dataclasses import dataclass

from bench.config.cell import framework_of, parse_cell
from bench.config.run import UNTRAINED, Run
from bench.judging import sample_size
from bench.judging.claim_judge import JudgedClaim, judge_claims
from bench.judging.claims import Claim, Claims
from bench.judging.evidence import Evidence
from bench.judging.references import FIRST_USER_SEED
from bench.judging.tolerances import Tolerances
from bench.judging.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A claim at one size, on one data set.

    Attributes:
        table: that has the cells.
        profile: size of the runs.
        data: the data set.
        judged: the claim with verdict, pairs and power.
        runs: the compared cells with seed 0, and the untrained ones below them; none where the profile cannot bear the
            claim, or has not all cells.
        seeds: of which all these cells have a run that can bear a claim.
        stored: how many of these seeds are below those of a user's table.
        wanted: seeds that the cells shall have (``sample_size``); 0 where the profile cannot bear the claim.
        states: of the code that made the runs of these cells, how many.
    """

    table: str
    profile: str
    data: str
    judged: JudgedClaim
    runs: tuple[Run, ...]
    seeds: int
    stored: int
    wanted: int
    states: int = 0

    @property
    def half_width(self) -> float | None:
        """Half the widest interval of the differences, in percentage points; None where nothing is compared."""
        return sample_size.half_width(self.judged.pairs)

    @property
    def missing(self) -> int:
        """How many seeds are to be added."""
        return max(0, self.wanted - self.seeds)

    def command(self, seeds: int) -> str:
        """Return what makes so many seeds of the cells; a user's table has seeds of its own, from its first on."""
        return (
            f"python -m bench table {self.table} --profile {self.profile} --data {self.data} "
            f"{f'--match {self.judged.claim.match} ' if self.judged.claim.match else ''}"
            f"--claim {self.judged.claim.name} --seeds {seeds}"
        )

    @property
    def way_on(self) -> str:
        """The command that goes on to the seeds that are wanted, else to those that would settle an open verdict.

        Where the verdict stands, it makes all seeds once more, as fresh runs.
        """
        if not self.wanted:
            return ""
        settled_by = self.judged.settled_by or 0
        if self.missing:
            return self.command(self.wanted - self.stored)
        if self.judged.judgement.verdict is Verdict.INCONCLUSIVE and settled_by:
            return self.command(max(1, settled_by - self.stored))
        return self.command(self.wanted)


def compared(claim: Claim, runs: tuple[Run, ...]) -> tuple[Run, ...]:
    """Return the cells that a claim compares, and the untrained ones of their frameworks; none if one is not there."""
    names = [run.cell for run in runs]
    found = {*claim.compared(names)}
    frameworks = set(map(framework_of, found))
    floors = {name for name in names if parse_cell(name).method == UNTRAINED and framework_of(name) in frameworks}
    return tuple(run for run in runs if run.cell in found | floors)


def entries(evidence: Evidence, claims: Claims, tolerances: Tolerances) -> tuple[Entry, ...]:
    """Judge every claim about a table by everything that bears on it."""
    spec = evidence.spec
    judged = judge_claims(claims, spec.profile, evidence.values(tolerances), spec.names)
    return tuple(_entry(item, evidence, tolerances) for item in judged)


def _entry(judged: JudgedClaim, evidence: Evidence, tolerances: Tolerances) -> Entry:
    spec = evidence.spec
    runs = compared(judged.claim, spec.cells) if spec.profile in judged.claim.profiles else ()
    cells = [run.cell for run in runs]
    seeds = evidence.seeds(cells, tolerances)
    return Entry(
        table=spec.name,
        profile=spec.profile,
        data=spec.data,
        judged=judged,
        runs=runs,
        seeds=len(seeds),
        stored=sum(seed < FIRST_USER_SEED for seed in seeds),
        wanted=sample_size.wanted(judged, len(seeds)) if runs else 0,
        states=evidence.states(cells),
    )
