"""Whose images a command works on: the data set that was asked for, or its stand-in."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from bench.commands.place import OutAndData
from bench.config.run import STAND_IN
from bench.runs.folder import RunFolder

if TYPE_CHECKING:
    from bench.data.known import Content
    from bench.tables.spec import TableSpec


PlaceT = TypeVar("PlaceT", bound=OutAndData)


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The data set a table really uses, and what must be said about it."""

    name: str
    banner: str = ""
    note: str = ""


def located(named: str, place: PlaceT) -> tuple[str, PlaceT]:
    """Return a data set's name and where it lies, of a name or of a path (which holds a slash).

    Raises:
        DataError: there is no such folder.
    """
    from bench.data import find

    name, data_dir = find.place_of(named, place.data_dir)
    return name, dataclasses.replace(place, data_dir=data_dir)


def content_of(name: str, place: OutAndData) -> "Content":
    """Return what a data set holds: as published, if it is known by name; else counted in its folder.

    Raises:
        DataError: it is neither known nor there.
    """
    from bench.data import find, known

    return known.known_content(name) or find.content(find.find(name, place.images_dir))


def resolve_images(name: str, profile: str, place: OutAndData) -> Images:
    """Return the table's data set; the stand-in only for smoke, and only where a known one cannot be had.

    Raises:
        DataError: broken data, none at all for a profile that needs it, or a name that is neither known nor there.
    """
    from bench.data import find, known
    from bench.data.images import DataError

    if find.find(name, place.images_dir).kind != "missing":
        return Images(name=name)
    try:
        find.download(name, place.images_dir)
    except DataError as error:
        if profile != "smoke" or known.known_content(name) is None:
            raise
        return _stand_in_for(name, "which is neither here nor fetched", note=f"{name}: {error}")
    return Images(name=name)


def stored_images(
    table: "Callable[[str], TableSpec]", name: str, profile: str, seeds: Sequence[int], place: OutAndData
) -> Images:
    """Return what a table's records under ``--out`` are of, without looking for images: nothing will be trained.

    That is the stand-in where no record of the data set lies there, but some of the stand-in do: the smoke table was
    made where the images could not be had.

    Args:
        table: data set to cells.
        name: the data set that was asked for.
        profile: of the table.
        seeds: of the user's runs.
        place: where they lie.
    """

    def has_records(images: str) -> bool:
        runs = table(images).runs(seeds)
        return any(RunFolder.of(place.runs_dir, run).record.exists() for run in runs)

    if profile == "smoke" and not has_records(name) and has_records(STAND_IN):
        return _stand_in_for(name, "of which no record lies under --out")
    return Images(name=name)


def _stand_in_for(name: str, why: str, note: str = "") -> Images:
    """Return the stand-in, with its banner."""
    banner = (
        f"STAND-IN DATA: scikit-learn's handwritten digits, not {name}, {why}. "
        f"Nothing below says anything about {name}; it is judged only against the stand-in's own references."
    )
    return Images(name=STAND_IN, banner=banner, note=note)
