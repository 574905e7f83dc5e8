"""What was published about training speed, beside what the model says; judged by relations, not statistically."""

import dataclasses
import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.judging.claims import CLAIMS
from bench.judging.settings import SettingsError, once, placed, read
from bench.judging.verdict import Judgement, Verdict
from bench.speedup.expected import Expected, row_names

FILE = CLAIMS / "accelerator.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioClaim:
    """``speed-up(left) / speed-up(right)`` surely above ``least_ratio`` for every pair; or a statement not judged.

    A pair is two rows of the same branches with the same memory.

    Attributes:
        name: short, unique in its file.
        work: title of the work.
        source: citation.
        statement: as published, word for word.
        assumption: what of it is ours, not published.
        left: glob over rows; empty where nothing is judged.
        right: glob over rows, those of the same branches; empty where nothing is judged.
        least_ratio: 1 is "faster than"; 0 where nothing is judged.
        equal_within: relative; a ratio this close to ``least_ratio`` is no difference. 0 where nothing is judged.
        not_judged: why nothing is comparable; empty where it is.
    """

    name: str
    work: str
    source: str
    statement: str
    assumption: str
    left: str = ""
    right: str = ""
    least_ratio: float = 0.0
    equal_within: float = 0.0
    not_judged: str = ""

    def __post_init__(self) -> None:
        compared = {"left": self.left, "right": self.right}
        numbers = {"least_ratio": self.least_ratio, "equal_within": self.equal_within}
        if any([*compared.values(), *numbers.values()]) is bool(self.not_judged):
            raise SettingsError(
                f"claim {self.name}: give {', '.join([*compared, *numbers])}, or not_judged with its reason."
            )
        for name, text in compared.items():
            if not text and not self.not_judged:
                raise SettingsError(f"claim {self.name}: {name} is missing. Add it, a glob over rows.")
        for name, value in numbers.items():
            if not (value > 0.0 and math.isfinite(value)) and not self.not_judged:
                raise SettingsError(f"claim {self.name}: {name} is {value}; it must be above 0 and finite.")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRatio:
    """A claim and its verdict. ``found``: the smallest ratio over all pairs."""

    claim: RatioClaim
    judgement: Judgement
    found: float | None

    @property
    def sentence(self) -> str:
        """The verdict, its reason, and what is ours."""
        return f"{self.judgement.verdict.value}: {self.judgement.reason} Ours: {self.claim.assumption}"

    @property
    def entries(self) -> dict[str, object]:
        """The same for programs."""
        judgement = {"verdict": self.judgement.verdict.value, "reason": self.judgement.reason}
        return dataclasses.asdict(self.claim) | {"found": self.found, "judgement": judgement}


def judge(claims: Sequence[RatioClaim], expected: Expected) -> tuple[JudgedRatio, ...]:
    """Judge every claim: REPRODUCED if every pair exceeds the least ratio by more than what counts as equal."""
    return tuple(_judged(claim, expected) for claim in claims)


def _judged(claim: RatioClaim, expected: Expected) -> JudgedRatio:
    pairs = [
        (value / expected[right][bandwidth], left, right, bandwidth)
        for left in fnmatch.filter(expected, claim.left)
        for right in fnmatch.filter(expected, claim.right)
        if left.partition("/")[0] == right.partition("/")[0]
        for bandwidth, value in expected[left].items()
    ]
    if claim.not_judged or not pairs:
        reason = claim.not_judged or f"No rows match {claim.left} and {claim.right}."
        return JudgedRatio(claim=claim, judgement=Judgement(verdict=Verdict.NOT_JUDGED, reason=reason), found=None)
    least, most = min(pairs), max(pairs)
    verdict = Verdict.REPRODUCED if least[0] > claim.least_ratio * (1.0 + claim.equal_within) else Verdict.DEVIATES
    memories = sorted({pair[3] for pair in pairs})
    over = f"over {len(pairs)} pairs and {memories[0]:g} to {memories[-1]:g} B of DRAM per cycle"
    reason = f"{_said(claim, least[0], most[0])} {over}; claimed is more than {claim.least_ratio:g}."
    return JudgedRatio(claim=claim, judgement=Judgement(verdict=verdict, reason=reason), found=least[0])


def _said(claim: RatioClaim, least: float, most: float) -> str:
    """Say what the ratios are; equal, where none of them differs by more than what counts as equal."""
    between = f"The expected ratio lies between {least:.3f} and {most:.3f}"
    if all(abs(ratio / claim.least_ratio - 1.0) <= claim.equal_within for ratio in (least, most)):
        return f"Equal within {claim.equal_within:.0%}: {between[0].lower()}{between[1:]}"
    return between


def load(path: Path = FILE) -> tuple[RatioClaim, ...]:
    """Read the claims, strictly.

    Raises:
        SettingsError: the file is unreadable, or has unknown, missing or impossible entries.
    """
    claims = read(_File, path).claim
    with placed(path):
        once("claim", [claim.name for claim in claims], "Give each a name of its own.")
        for claim in claims:
            for glob in () if claim.not_judged else (claim.left, claim.right):
                if not fnmatch.filter(row_names(), glob):
                    rows = ", ".join(row_names())
                    raise SettingsError(f"claim {claim.name}: {glob!r} matches no row. The rows are {rows}.")
    return claims


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """The layout of the file."""

    claim: tuple[RatioClaim, ...]
