"""``verify``: is everything under a folder what was written there, and does it agree with itself?"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from bench.errors import UsageError, UserError

_REFERENCE = re.compile(r".+-s\d+-[0-9a-f]{12}\.json")  # a run's name; not that of a table of the size smoke


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Check every record, mask file, encoder, checkpoint, reference and cache of decoded images under a folder.

    Each is checked against its sum, and all of a run against each other: percentages against counts, counts and
    budgets against the masks, the encoder against its digest. Nothing is changed. A line per fault; exit code 1 if
    there is one.

    Attributes:
        folder: where to look, e.g. out, results/references, or the folder that SPARSE_SSL_CACHE names.
    """

    folder: Positional[Annotated[Path, arg(metavar="FOLDER")]] = Path("out")

    def act(self) -> int:
        """Print every fault, then what was looked at; return the exit code.

        Raises:
            UsageError: there is no such folder, or nothing in it that can be checked.
        """
        if not self.folder.is_dir():
            raise UsageError(f"{self.folder}: there is no such folder.")
        checked, faults = 0, 0
        for kind, folder in self._places():
            checked += 1
            for path, fault in _faults(kind, folder):
                faults += 1
                print(f"{path}: {fault}")
        if not checked:
            raise UsageError(f"{self.folder}: no run, reference or cache lies there.")
        print(f"{checked} runs, references and caches checked, {faults} faults")
        return int(bool(faults))

    def _places(self) -> Iterator[tuple[str, Path]]:
        """Give what is to be checked: folders of runs and caches, and files of references."""
        for folder in sorted((self.folder, *(path for path in self.folder.rglob("*") if path.is_dir()))):
            if any(any(folder.glob(pattern)) for pattern in ("record*.json", "checkpoint*.pt")):
                yield "run", folder
            elif any(folder.glob("train-*.npy")) or any(folder.glob("test-*.npy")):
                if not folder.name.endswith(".partial"):  # somebody is at it, or was killed: it counts as nothing
                    yield "cache", folder
            else:
                named = (path for path in sorted(folder.glob("*.json")) if _REFERENCE.fullmatch(path.name))
                yield from (("reference", path) for path in named)


def _faults(kind: str, path: Path) -> Iterator[tuple[Path, str]]:
    if kind == "cache":
        from bench.data.cache import damaged

        yield from ((path / name, "is not what was written to the cache; it is made again") for name in damaged(path))
    elif kind == "run":
        from bench.runs import soundness

        yield from soundness.faults(path)
    else:
        from bench.judging.references import load_reference

        try:
            load_reference(path)
        except UserError as error:
            yield path, str(error).removeprefix(f"{path}: ")
