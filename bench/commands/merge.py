"""``merge``: the finished runs of several result folders in one."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from bench.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Copy the finished runs of several result folders into one, e.g. those that shards of a table left.

    Then `table --stored --out DIR` judges the whole.

    Attributes:
        folders: what --out named where the runs were made.
        into: result folder that gets the runs; made if it is not there.
    """

    folders: Positional[Annotated[tuple[Path, ...], arg(metavar="DIR ...")]]
    into: Annotated[Path, arg(metavar="DIR")]

    def act(self) -> int:
        """Merge and say what was done; return the exit code.

        Raises:
            UsageError: a folder holds no runs.
            MergeError, RecordError: with the way out.
        """
        from bench.runs.merging import merge

        runs = [(folder / "runs").absolute() for folder in self.folders]
        for folder, runs_dir in zip(self.folders, runs, strict=True):
            if not runs_dir.is_dir():
                raise UsageError(f"{folder}: holds no folder runs/. Name what --out named where the runs were made.")
        done = merge(runs, (self.into / "runs").absolute())
        print(f"{len(done.copied)} runs copied into {self.into}; {len(done.repeated)} had equal numbers in two folders")
        if done.unfinished:
            print(f"{len(done.unfinished)} were begun and not finished: {', '.join(done.unfinished)}", file=sys.stderr)
        if len(done.source_digests) > 1:
            print(f"{len(done.source_digests)} states of the code made these runs", file=sys.stderr)
        return 0
