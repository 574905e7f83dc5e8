"""A tree of class folders, PATH/{train,test}/CLASS/FILE: which files are there, of which class."""

import os
from dataclasses import dataclass
from pathlib import Path

from bench.data.image_files import line
from bench.data.images import MIN_CLASSES, DataError

SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")
RESTORE = "Restore it, or remove it."


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree ``path/{train,test}/CLASS/FILE``. Classes are alphabetical.

    Attributes:
        path: its root.
        only: the classes wanted of a larger tree; empty means all.
        scored: names of the scored split's folder; the first that is there is taken.
    """

    path: Path
    only: tuple[str, ...] = ()
    scored: tuple[str, ...] = ("test", "val")

    @property
    def scored_folder(self) -> str:
        """The name of the scored split's folder."""
        return next((name for name in self.scored if (self.path / name).is_dir()), self.scored[0])

    @property
    def splits(self) -> tuple[str, str]:
        """The names of the folders to train and to be scored on."""
        return "train", self.scored_folder

    def classes(self) -> tuple[str, ...]:
        """Return the classes, which both splits must have.

        Raises:
            DataError: they differ, or there are too few.
        """
        train, scored = (self._classes(split) for split in self.splits)
        if train != scored:
            odd = sorted(set(train) ^ set(scored))
            raise DataError(
                f"{self.path}: class {odd[0]!r} is in only one of train/ and {self.scored_folder}/. Both need the "
                "same classes. Add or remove the folder."
            )
        return train

    def files(self, split: str) -> list[tuple[str, int]]:
        """Return the image files of a split with their labels, class by class, in the order of names."""
        return [
            (entry.path, label)
            for label, name in enumerate(self.classes())
            for entry in _images_in(self.path / split / name)
        ]

    def listing(self) -> list[str]:
        """Return what is known of the files of both splits without reading them."""
        return [line(path, RESTORE) for split in self.splits for path, _ in self.files(split)]

    def _classes(self, split: str) -> tuple[str, ...]:
        folder = self.path / split
        if not folder.is_dir():
            raise DataError(
                f"{folder}: no such folder. An image folder has train/CLASS/ and test/CLASS/. Make both, "
                "or name another data directory."
            )
        inside = _scan(folder)
        if self.only:
            missing = sorted(set(self.only) - {entry.name for entry in inside})
            if missing:
                raise DataError(
                    f"{folder}: {len(missing)} of {len(self.only)} classes are missing, the first is {missing[0]}. "
                    "All listed classes are needed. Add them."
                )
            inside = [entry for entry in inside if entry.name in set(self.only)]
        stray = [entry.path for entry in inside if not entry.is_dir()]
        if stray:
            raise DataError(f"{stray[0]}: a file where a class folder belongs. Move it out of {folder}.")
        if len(inside) < MIN_CLASSES:
            raise DataError(f"{folder}: {len(inside)} class folder(s). At least {MIN_CLASSES} are needed. Add one.")
        return tuple(entry.name for entry in inside)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    """Return what lies in a folder, in the order of names; names that start with a dot are left alone."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}). Correct its permissions.") from error


def _images_in(folder: Path) -> list[os.DirEntry[str]]:
    """Return a class's files, in the order of names."""
    files = _scan(folder)
    for entry in files:
        if not entry.name.lower().endswith(SUFFIXES):
            raise DataError(f"{entry.path}: not one of {', '.join(SUFFIXES)}. Move it out of the folder.")
    if not files:
        raise DataError(f"{folder}: no image. Every class needs at least one. Add some or remove the class.")
    return files
