"""What the papers claim, as relations between cells: read from ``results/claims/`` and from nowhere else.

A claim compares us with a paper; a reference compares us with our own stored runs. They are never mixed: no
claim changes a cell's verdict or the exit code. A paper that does not hold is a result, not a failure.
"""

import dataclasses
import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.config.cell import framework_of
from bench.config.profiles import PROFILES
from bench.files import ROOT
from bench.judging.claimed_cells import cells_of, require_cells
from bench.judging.settings import SettingsError, known, level, once, placed, read
from bench.runs.record import METRICS
from bench.tables import TABLES

CLAIMS = ROOT / "results" / "claims"
SourceKind = Literal["abstract", "code", "summary", "talk", "ours"]
Cost = Literal["macs", "training-macs"]
OURS: Literal["ours"] = "ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A relation between cells: ``mean(left) - mean(right) > least_gain_points``, for every pair.

    Attributes:
        name: short, unique in its file.
        statement: as published, word for word; of a claim of ours, what is asked.
        metric: which of the record's metrics.
        left: glob over cells.
        right: globs over cells; each left cell is paired with the right cells of its framework.
        least_gain_points: 0 is "better than"; negative is "at most so much worse than".
        profiles: where the claim can be judged.
        not_judged: for every other profile, why not.
    """

    name: str
    statement: str
    metric: str
    left: str
    right: tuple[str, ...]
    least_gain_points: float
    profiles: tuple[str, ...]
    not_judged: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(Relation):
    """A relation, and who claims it.

    With a framework beside, from each gain that of the same two cells of this framework is taken off: how much more of
    ``left`` the others lose by ``right``.

    Attributes:
        work: title of the work.
        source: citation.
        source_kind: how much of the work we could read; ``ours`` for a claim that no work makes.
        is_primary: judged without correction; exactly one per work and table, fixed before the runs; none of ours.
        beside: the framework whose own gain is taken off; empty for claims within one framework.
        match: the cost that all rows are brought to first (``bench.tables.match``); empty for those of the works.
    """

    work: str
    source: str
    source_kind: SourceKind
    is_primary: bool
    beside: str = ""
    match: Literal["", Cost] = ""

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

        None at all where a left cell lacks an opponent, or the framework beside a cell: half a claim must not be taken
        for the whole.
        """
        found: list[tuple[str, str]] = []
        for left in fnmatch.filter(cells, self.left):
            framework = framework_of(left)
            if framework == self.beside:
                continue
            for glob in self.right:
                rivals = [cell for cell in fnmatch.filter(cells, glob) if cell.startswith(f"{framework}/")]
                if not rivals:
                    return ()
                found += [(left, right) for right in rivals if right != left]
        if not {cell for pair in found for cell in self.cells_beside(pair)} <= {*cells}:
            return ()
        return tuple(dict.fromkeys(found))

    def cells_beside(self, pair: tuple[str, str]) -> tuple[str, ...]:
        """Return the cells of the framework beside whose gain is taken off a pair's; none where no framework is."""
        return tuple(f"{self.beside}/{cell.partition('/')[2]}" for cell in pair) if self.beside else ()

    @property
    def globs_beside(self) -> tuple[str, ...]:
        """What the globs are in the framework beside."""
        return tuple(cell for right in self.right for cell in self.cells_beside((self.left, right)))

    def compared(self, cells: Sequence[str]) -> tuple[str, ...]:
        """Return all cells that the claim rests on, each once."""
        pairs = self.pairs(cells)
        return tuple(dict.fromkeys(cell for pair in pairs for cell in (*pair, *self.cells_beside(pair))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The claims about one table: of works, or ours. ``alpha`` is the level of each one-sided test."""

    alpha: float
    claims: tuple[Claim, ...]

    def __post_init__(self) -> None:
        level(alpha=self.alpha)
        once("claim", [claim.name for claim in self.claims], "Give each a name of its own.")
        for work in dict.fromkeys(claim.work for claim in self.claims):
            primary = [claim.name for claim in self.claims if claim.work == work and claim.is_primary]
            if len(primary) != (work != OURS):
                raise SettingsError(f"{work}: {len(primary)} primary claims; declare exactly one before the runs.")

    def at(self, match: Cost) -> "Claims | None":
        """Return those about rows at one equal cost; None where there are none."""
        found = tuple(claim for claim in self.claims if claim.match == match)
        return Claims(alpha=self.alpha, claims=found) if found else None


def load_claims(table: str, folder: Path = CLAIMS) -> Claims:
    """Read the claims about a table, strictly.

    Raises:
        SettingsError: the file is missing, unreadable, or has unknown, missing or impossible entries.
    """
    path = folder / f"{table}.toml"
    file = read(_File, path)
    with placed(path):
        for claim in file.claim:
            if claim.match or OURS in {claim.work, claim.source_kind}:
                raise SettingsError(f"claim {claim.name} is ours: those of the works alone stand here. See ours.toml.")
        return _checked(Claims(alpha=file.alpha, claims=file.claim), table)


def load_own_claims(table: str, folder: Path = CLAIMS) -> Claims | None:
    """Read our own claims about a table at equal cost, strictly; None where there are none.

    Raises:
        SettingsError: as ``load_claims``.
    """
    path = folder / "ours.toml"
    file = read(_OwnFile, path)
    with placed(path):
        for each in file.claim:
            known([*TABLES], table=each.table)
        found = tuple(each.claim for each in file.claim if each.table == table)
        return _checked(Claims(alpha=file.alpha, claims=found), table) if found else None


def _checked(claims: Claims, table: str) -> Claims:
    """Return claims that all speak about cells that the table has."""
    for claim in claims.claims:
        with placed(f"claim {claim.name}"):
            require_cells(table, claim.profiles, (claim.left, *claim.right, *claim.globs_beside))
            _require_opponents(claim, table)
    return claims


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _OwnClaim(Relation):
    """An entry of the file of our own claims."""

    table: str
    match: Cost

    @property
    def claim(self) -> Claim:
        """The claim that it is."""
        relation: dict[str, Any] = {item.name: getattr(self, item.name) for item in dataclasses.fields(Relation)}
        return Claim(**relation, work=OURS, source=OURS, source_kind=OURS, is_primary=False, match=self.match)


@dataclass(frozen=True, slots=True, kw_only=True)
class _OwnFile:
    """The layout of our own claims."""

    alpha: float
    claim: tuple[_OwnClaim, ...]
