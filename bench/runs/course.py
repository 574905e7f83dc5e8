"""How far a run has come: a small file in its folder, written by whoever is at it, read by whoever wants to know."""

import contextlib
import dataclasses
import json
import os
import time
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.ticks import Phase

WRITE_SECONDS = 0.5  # between two writings: they are for eyes
_HEED_SECONDS = 0.2  # between two looks at whether to stop
_UNITS: dict[Phase, str] = {"training": "step", "settling": "batch", "scoring": "batch", "probing": "batch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """How far a run has come.

    Attributes:
        phase: what is being done.
        done: units of that phase that are done: steps, or batches of images.
        total: units in all; 0 if nobody knows.
    """

    phase: Phase
    done: int
    total: int

    def __str__(self) -> str:
        """Return ``step 12/240``, ``settling, batch 7`` or ``probing``."""
        count = f"{_UNITS[self.phase]} {self.done}" + (f"/{self.total}" if self.total else "")
        if self.phase == "training":
            return count
        return f"{self.phase}, {count}" if self.done or self.total else self.phase


def heard(path: Path) -> Stand | None:
    """Return what ``path`` says; ``None`` if nobody has said anything yet, or nothing that can be understood."""
    try:
        body = json.loads(path.read_bytes())
        stand = Stand(phase=body["phase"], done=int(body["done"]), total=int(body["total"]))
    except (OSError, ValueError, KeyError, TypeError):  # gone, half there on a network file system, or not ours
        return None
    return stand if stand.phase in typing.get_args(Phase) else None


class Teller:
    """A ``Tick`` that writes the file now and then, and heeds who wants the run to stop. The file goes in the end."""

    def __init__(self, path: Path, heed: Callable[[], None]) -> None:
        """Tell nothing yet.

        Args:
            path: of the file.
            heed: raises ``KeyboardInterrupt`` if the run is to stop.
        """
        self._path, self._heed = path, heed
        self._told_at = self._heeded_at = -1.0
        self._phase: Phase | None = None

    def __enter__(self) -> Self:
        self._path.unlink(missing_ok=True)  # of a process that was killed
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def __call__(self, done: int, total: int, phase: Phase = "training", /) -> None:
        """Tell and heed, now and then; a new phase is told at once."""
        now = time.monotonic()
        if phase != self._phase or now - self._told_at >= WRITE_SECONDS:
            self._phase, self._told_at = phase, now
            self._tell(Stand(phase=phase, done=done, total=total))
        if done == total or now - self._heeded_at >= _HEED_SECONDS:
            self._heeded_at = now
            self._heed()

    def _tell(self, stand: Stand) -> None:
        """Write the file whole, without asking the disk to hurry: after a crash nobody misses it."""
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # on a full disk the run has greater worries
            partial.write_text(json.dumps(dataclasses.asdict(stand)), encoding="utf-8")
            partial.replace(self._path)
