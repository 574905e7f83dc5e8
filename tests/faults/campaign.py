"""Rounds of faults, each drawn from a seed and its number, and a count of what came of them."""

import shutil
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.faults.commands import Subject
from tests.faults.damage import DAMAGES
from tests.faults.victims import Victim, victims

DAMAGED_A_ROUND = 50  # reading a file takes milliseconds, a command takes seconds


@dataclass(slots=True)
class Tally:
    """What happened.

    Attributes:
        counts: (what was done, what came of it) -> how often.
        kinds: of damage, or whom which signal struck -> how often.
        failures: of each a line: the round, what was done, and what was wrong.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the summary: what came of what, and how often each kind was tried."""
        came_of = [f"{count:6,}  {done}: {came}" for (done, came), count in sorted(self.counts.items())]
        return [*came_of, "of these:", *(f"{count:6,}  {kind}" for kind, count in sorted(self.kinds.items()))]


@dataclass(frozen=True, slots=True)
class Campaign:
    """Everything that is damaged and disturbed.

    Attributes:
        folder: holds it.
        seed: what every round is drawn from, together with its number.
        subject: the run whose command is disturbed.
        files: a file of every kind.
    """

    folder: Path
    seed: int
    subject: Subject
    files: dict[str, Victim]

    @classmethod
    def prepared(cls, folder: Path, seed: int) -> "Campaign":
        """Make what is to be damaged. Takes a minute."""
        return cls(folder, seed, Subject.made(folder / "commands"), victims(folder / "files"))

    def round(self, number: int, tally: Tally) -> None:
        """Damage some files, and disturb a command."""
        random = Random(f"{self.seed}/{number}")
        for _ in range(DAMAGED_A_ROUND):
            self._damage(random, number, tally)
        kind, act = random.choice(
            [
                *[("commands killed", self.subject.killed)] * 4,
                ("commands without room", self.subject.without_room),
                ("commands beside another", self.subject.beside_another),
            ]
        )
        name = f"round {number}"
        self._try(kind, lambda: ("ended as ever", act(random, name)), number, tally)
        shutil.rmtree(self.subject.folder / name, ignore_errors=True)

    def _damage(self, random: Random, number: int, tally: Tally) -> None:
        name, (kind, damage) = random.choice([*self.files]), random.choice([*DAMAGES.items()])
        victim = self.files[name]
        damaged = damage(random, victim.whole[0])
        if damaged != victim.whole[0]:
            self._try(f"{name} damaged", lambda: (victim.after(damaged), kind), number, tally)

    def _try(self, done: str, act: Callable[[], tuple[str, str]], number: int, tally: Tally) -> None:
        try:
            came, kinds = act()
            tally.kinds.update(kinds.split("; "))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            came = "FAILED"
            *_, last = traceback.extract_tb(error.__traceback__)
            tally.failures.append(
                f"round {number}, {done}: {type(error).__name__}: {error} ({last.filename}:{last.lineno})"
            )
        tally.counts[done, came] += 1
