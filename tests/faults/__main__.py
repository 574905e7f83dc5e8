"""``nox -s faults``: damage files and kill commands for some minutes, and count what was lost or believed."""

import contextlib
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from tests.faults.campaign import Campaign, Tally


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Damage files and disturb commands: what comes of it is what an undisturbed command leaves, or an error that says.

    Attributes:
        minutes: how long; a round that was begun is ended.
        seed: what is drawn: the files, the damage, whom a signal strikes and when.
        round: only this one, as a failure names it. Where in the code a signal strikes is the machine's choice.
    """

    minutes: float = 20.0
    seed: int = 0
    round: int | None = None

    def act(self) -> int:
        """Print the counts and the failures, of an interrupted campaign too; return the exit code."""
        tally, end, is_whole = Tally(), time.monotonic() + 60 * self.minutes, False
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            os.environ["SPARSE_SSL_CACHE"] = str(Path(folder) / "cache")
            campaign, number = Campaign.prepared(Path(folder), self.seed), self.round or 0
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    campaign.round(number, tally)
                    number += 1
                    if self.round is not None or time.monotonic() > end:
                        break
                is_whole = True
        for line in (*tally.lines(), *tally.failures):
            print(line)
        rounds = number - (self.round or 0)
        end_of_it = "" if is_whole else ", interrupted"
        print(f"seed {self.seed}, {rounds} rounds, {len(tally.failures)} failures{end_of_it}")
        if tally.failures:
            print(f"once more: nox -s faults -- --seed {self.seed} --round NUMBER")
        return int(bool(tally.failures)) if is_whole else 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(tyro.cli(Faults, prog="nox -s faults --").act())
