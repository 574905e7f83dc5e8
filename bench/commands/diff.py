"""``diff``: what differs between two runs, two tables or two folders of results."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from bench.commands.place import Out
from bench.errors import UsageError
from bench.runs import find
from bench.runs.folder import RunFolder

if TYPE_CHECKING:
    from bench.report.differences import Body


@dataclass(frozen=True, kw_only=True)
class Diff:
    """Compare two runs, two tables or two folders of results: settings, numbers and verdicts that differ.

    Exits with 0 if nothing differs and with 1 if something does. Time, place and machine are no difference.

    Attributes:
        first: a run (its name, the beginning of it, or its folder), a JSON file (record or table), or a folder of
            results, as --out names one.
        second: another one of the same kind.
        place: where the runs lie that are named.
    """

    first: Positional[Annotated[str, arg(metavar="FIRST")]]
    second: Positional[Annotated[str, arg(metavar="SECOND")]]
    place: Out = field(default_factory=Out)

    def act(self) -> int:
        """Print what differs; return the exit code.

        Raises:
            UsageError: one of them is not there, or they are not of one kind.
        """
        from bench.report import differences

        are_folders = [_is_collection(Path(text)) for text in (self.first, self.second)]
        if are_folders[0] != are_folders[1]:
            raise UsageError(f"{self.first} and {self.second}: one is a folder of results, the other is none.")
        if all(are_folders):
            lines = differences.folders(_collection(Path(self.first)), _collection(Path(self.second)))
        else:
            lines = differences.between(self._one(self.first), self._one(self.second))
        print(*(lines or ["nothing differs"]), sep="\n")
        return int(bool(lines))

    def _one(self, text: str) -> "Body":
        from bench.report import differences

        path = Path(text)
        return differences.load(path if path.is_file() else find.named(text, self.place.runs_dir).record)


def _is_collection(path: Path) -> bool:
    return path.is_dir() and not RunFolder(path).record.exists()


def _collection(folder: Path) -> "dict[str, Body]":
    """Return the records and tables of a folder of results by their names."""
    from bench.report import differences

    records = {run.path.name: differences.load(run.record) for run in RunFolder.recorded(folder / "runs")}
    paths = sorted((folder / "tables").glob("*.json"))
    tables = {path.stem: differences.load(path) for path in paths if path.stem != "accelerator"}
    if not records and not tables:
        raise UsageError(f"{folder}: holds no runs/RUN/record.json and no tables/*.json. Name a folder of results.")
    return {**records, **tables}
