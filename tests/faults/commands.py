"""A command that makes one small run, disturbed at any moment: it leaves in the end what an undisturbed one leaves."""

import contextlib
import math
import os
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bench.runs.record import Record
from tests import forked
from tests.forked import Running

CELL = "byol/synchronized/element/d0.20+g0.30"
SMALL = {
    "data.train_images": 96,
    "encoder.width": 0.0625,
    "framework.hidden_dim": 16,
    "framework.output_dim": 16,
    "framework.prediction_dim": 16,
    "optimizer.batch_images": 24,
    "optimizer.epochs": 3,
}
ARGUMENTS = ("run", CELL, "--data", "digits", *(f"--set={key}={value}" for key, value in SMALL.items()))
TARGETS = ("worker", "parent", "group")
MOST_STRIKES = 6  # of one run; the sooner it is at its end, the fewer it gets
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
Essence = tuple[object, ...]


class Lost(Exception):  # noqa: N818 - it is not an error of the one who raises it
    """Work was lost, a number changed, or a command ended in a way that no user could mend."""


def limited(largest_bytes: int, *arguments: str) -> None:
    """Be the command on a disk that takes no larger file."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_bytes, largest_bytes))
    forked.bench(*arguments)


@dataclass(frozen=True, slots=True)
class Subject:
    """The run that is disturbed.

    Attributes:
        folder: everything of it lies below.
        whole: what an undisturbed command leaves.
        seconds: that it takes, once its kernels are compiled and its images are decoded.
    """

    folder: Path
    whole: Essence
    seconds: float

    @classmethod
    def made(cls, folder: Path) -> "Subject":
        """Make it twice, undisturbed: the first time nothing is compiled and decoded yet."""
        _ended(folder / "whole", "first", {0})
        whole = _essence(folder / "whole")
        began = time.monotonic()
        _ended(folder / "again", "first", {0})
        seconds = time.monotonic() - began
        if _essence(folder / "again") != whole:
            raise Lost(f"{folder}: two undisturbed commands leave different records")
        return cls(folder, whole, seconds)

    def killed(self, random: Random, name: str) -> str:
        """Strike the command, and what goes on with it, until one ends; return whom which signal struck, by ``; ``."""
        out, told = self.folder / name, list[str]()
        for attempt in range(MOST_STRIKES):
            target, number = random.choice(TARGETS), random.choice(SIGNALS)
            number = signal.SIGKILL if target == "worker" else number  # a worker is deaf to all others
            with _started(out, f"{attempt}") as command:
                _wait(command, random.uniform(0, self.seconds))
                if _strike(command, target, number):
                    told.append(f"{target} {signal.Signals(number).name}")
                _, errors = command.communicate()
                _require(command.returncode, errors, {0, 1, 128 + number, -number})
            if command.returncode == 0:
                break
        self._ends_as_ever(out)
        return "; ".join(told) or "nobody: it had ended"

    def without_room(self, random: Random, name: str) -> str:
        """Run the command where files above some size cannot be written, and then with room."""
        out, largest = self.folder / name, round(math.exp(random.uniform(math.log(200), math.log(400_000))))
        with Running(limited, largest, *ARGUMENTS, "--out", str(out), output=out / "limited") as command:
            _, errors = command.communicate()
        _require(command.returncode, errors, {0, 1, 2})
        self._ends_as_ever(out)
        return "no room for large files"

    def beside_another(self, random: Random, name: str) -> str:
        """Start the command twice at once; one of them may be killed."""
        out, number = self.folder / name, random.choice([None, signal.SIGKILL, signal.SIGTERM])
        with _started(out, "one") as one, _started(out, "other") as other:
            if number is not None:
                _wait(one, random.uniform(0, self.seconds))
                if not _strike(one, random.choice(("parent", "group")), number):
                    number = None
            for command, codes in ((one, {0, 1, 128 + (number or 0), -(number or 0)}), (other, {0})):
                _, errors = command.communicate()
                _require(command.returncode, errors, codes)
        self._ends_as_ever(out)
        return "two at once" if number is None else f"two at once, one of them ended by {signal.Signals(number).name}"

    def _ends_as_ever(self, out: Path) -> None:
        _ended(out, "last", {0})
        if _essence(out) != self.whole:
            raise Lost(f"{out}: the record is not that of an undisturbed command")
        home = next((out / "runs").glob("*/record.json")).parent
        left = {path.name for path in home.iterdir()} - {"record.json", "masks.npz", "encoder.safetensors", "lock"}
        if left:
            raise Lost(f"{home}: {sorted(left)} stayed")


def _started(out: Path, name: str) -> Running:
    return Running(
        forked.bench, *ARGUMENTS, "--checkpoint-seconds=0.05", "--out", str(out), output=out / f"command {name}"
    )


def _ended(out: Path, name: str, codes: set[int]) -> None:
    with _started(out, name) as command:
        _, errors = command.communicate()
        _require(command.returncode, errors, codes)


def _wait(command: Running, seconds: float) -> None:
    """Wait, but not beyond the command's end."""
    end = time.monotonic() + seconds
    while command.poll() is None and time.monotonic() < end:
        time.sleep(0.005)


def _strike(command: Running, target: str, number: int) -> bool:
    """Send the signal; return whether anybody was there to be struck."""
    if command.poll() is not None:
        return False
    if target == "group":
        command.kill_group(number)
        return True
    struck = False
    for process in command.workers() if target == "worker" else [command.pid]:
        with contextlib.suppress(ProcessLookupError):  # it ended first
            os.kill(process, number)
            struck = True
    return struck


def _require(code: int | None, errors: str, codes: set[int]) -> None:
    if code not in codes or "Traceback" in errors:
        raise Lost(f"ended with {code}: {errors}")


def _essence(out: Path) -> Essence:
    """Return what two commands agree on that made the same run: all but time, host and place."""
    (path,) = (out / "runs").glob("*/record.json")
    record = Record.load(path)
    sums = [record.provenance[name] for name in ("masks_sha256", "encoder_sha256", "env_class")]
    return (record.run, record.metrics, record.facts, sums)
