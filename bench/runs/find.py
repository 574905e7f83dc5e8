"""What lies under a folder of runs: which are finished, under way, interrupted or failed; and a run by its name."""

import datetime as dt
import difflib
import enum
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.runs.folder import RunFolder


class State(enum.Enum):
    """How far a run has come."""

    FINISHED = "finished"
    UNDER_WAY = "under way"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run's folder, how far the run has come, and when something last happened there."""

    folder: RunFolder
    state: State
    when: dt.datetime

    @property
    def run_id(self) -> str:
        """The run's name."""
        return self.folder.path.name


def every(runs_dir: Path) -> tuple[FoundRun, ...]:
    """Return all runs that lie in a folder, the oldest first."""
    folders = (RunFolder(path.parent) for path in runs_dir.glob("*/lock"))
    others = {folder.path: folder for folder in RunFolder.recorded(runs_dir)} | {each.path: each for each in folders}
    return tuple(sorted(map(_found, others.values()), key=lambda run: (run.when, run.run_id)))


def named(text: str, runs_dir: Path) -> RunFolder:
    """Return the folder of a finished run by its name, the beginning of it, or the folder itself.

    Raises:
        UsageError: there is none, or more than one.
    """
    if RunFolder(Path(text)).record.is_file():
        return RunFolder(Path(text))
    there = {folder.path.name: folder for folder in RunFolder.recorded(runs_dir)}
    if text in there:
        return there[text]
    found = [name for name in there if name.startswith(text)]
    if len(found) == 1:
        return there[found[0]]
    if found:
        raise UsageError(
            f"run {text!r}: {len(found)} runs begin so. Write more of the name: {', '.join(sorted(found))}."
        )
    near = difflib.get_close_matches(text, there, n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(
        f"run {text!r}: no finished run in {runs_dir} begins so, and it is no run's folder.{meant} "
        "`python -m bench runs` lists them; --out names another folder of results."
    )


def _found(folder: RunFolder) -> FoundRun:
    kinds = (
        (State.FINISHED, folder.record.exists()),
        (State.UNDER_WAY, folder.is_held()),
        (State.FAILED, folder.error.exists()),
        (State.INTERRUPTED, True),
    )
    state = next(kind for kind, holds in kinds if holds)
    last = max(path.stat().st_mtime for path in (folder.path, *folder.path.iterdir()) if path.exists())
    if state is State.FINISHED:
        last = folder.record.stat().st_mtime
    return FoundRun(folder, state, dt.datetime.fromtimestamp(last).astimezone())
