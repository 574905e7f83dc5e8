"""Reads pictures as they lie on disk: an image-folder tree, or the CIFAR files of their author."""

import abc
import hashlib
import os
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100

from bench.data.pictures import MIN_CLASSES, SIZE, Bytes, DataError, Decoded, Pictures, canonical

SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")
SPLITS = ("train", "test")
LOSSLESS_MODES = (
    "RGB",
    "P",
    "L",
    "1",
)  # a palette or grey levels become RGB without loss; alpha, CMYK, 16 bit do not
RESTORE = "Restore it, or remove it."
FETCH_AGAIN = "All published files are needed: download them again."
CIFAR_CLASSES = {"cifar10": CIFAR10, "cifar100": CIFAR100}


class PictureFiles(abc.ABC):
    """A data set on disk."""

    @abc.abstractmethod
    def listing(self) -> list[str]:
        """Return one line per file: path, bytes, time of change. Changed data changes it.

        Raises:
            DataError: the tree is not as it should be.
        """

    @abc.abstractmethod
    def decode(self) -> Decoded:
        """Read every picture.

        Raises:
            DataError: naming the file that cannot be used.
        """


@dataclass(frozen=True, slots=True)
class ImageFolder(PictureFiles):
    """A tree ``path/{train,test}/CLASS/*.{png,webp,jpg}`` of 32x32 pictures. Classes are alphabetical."""

    path: Path

    def listing(self) -> list[str]:
        """Return the picture files of both splits."""
        return [
            _line(entry.path, RESTORE)
            for split in SPLITS
            for name in self._classes(split)
            for entry in _pictures_in(self.path / split / name)
        ]

    def decode(self) -> Decoded:
        """Read every picture. The pixels of a JPEG depend on the version of its decoder."""
        classes = self._classes("train")
        if self._classes("test") != classes:
            odd = sorted(set(classes) ^ set(self._classes("test")))
            raise DataError(
                f"{self.path}: class {odd[0]!r} is in only one of train/ and test/. Both need the same "
                "classes. Add or remove the folder."
            )
        train, test = (self._split(split, classes) for split in SPLITS)
        return Decoded(classes, train, test, verified=False, note="image folder")

    def _classes(self, split: str) -> tuple[str, ...]:
        folder = self.path / split
        if not folder.is_dir():
            raise DataError(
                f"{folder}: no such folder. An image folder has train/CLASS/ and test/CLASS/. Make both, "
                "or name another data directory."
            )
        inside = _scan(folder)
        stray = [entry.path for entry in inside if not entry.is_dir()]
        if stray:
            raise DataError(f"{stray[0]}: a file where a class folder belongs. Move it out of {folder}.")
        if len(inside) < MIN_CLASSES:
            raise DataError(f"{folder}: {len(inside)} class folder(s). At least {MIN_CLASSES} are needed. Add one.")
        return tuple(entry.name for entry in inside)

    def _split(self, split: str, classes: Sequence[str]) -> Pictures:
        files = [
            (Path(entry.path), label)
            for label, name in enumerate(classes)
            for entry in _pictures_in(self.path / split / name)
        ]
        pixels = np.empty((len(files), SIZE, SIZE, 3), dtype=np.uint8)
        for row, (path, _) in enumerate(files):
            pixels[row] = _pixels(path)
        return canonical(pixels, np.array([label for _, label in files], dtype=np.int64))


@dataclass(frozen=True, slots=True)
class OfficialFiles(PictureFiles):
    """CIFAR-10 or CIFAR-100 as published: the unpacked folder or the ``.tar.gz``, every file checked by MD5.

    Source: A. Krizhevsky (2009), "Learning Multiple Layers of Features from Tiny Images"; names and checksums
    are torchvision's.
    """

    name: str
    path: Path

    def listing(self) -> list[str]:
        """Return the archive, or the files in the folder."""
        if self.path.is_file():
            return [_line(self.path, FETCH_AGAIN)]
        return [_line(self.path / name, FETCH_AGAIN) for name in self._checksums]

    def decode(self) -> Decoded:
        """Check and read every file."""
        spec: Any = CIFAR_CLASSES[self.name]
        content = self._read()
        names = _unpickled(content[spec.meta["filename"]])[spec.meta["key"]]
        classes = tuple(sorted(names))
        label_of = np.array([classes.index(name) for name in names], dtype=np.int64)  # alphabetical already
        splits = []
        for files in (spec.train_list, spec.test_list):
            batches = [_unpickled(content[name]) for name, _ in files]
            pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, SIZE, SIZE)
            key = "labels" if "labels" in batches[0] else "fine_labels"
            labels = np.concatenate([batch[key] for batch in batches])
            splits.append(canonical(pixels.transpose(0, 2, 3, 1), label_of[labels]))
        note = "official files, checksums verified"
        return Decoded(classes, splits[0], splits[1], verified=True, note=note)

    @property
    def _checksums(self) -> dict[str, str]:
        spec: Any = CIFAR_CLASSES[self.name]
        return dict([*spec.train_list, *spec.test_list, (spec.meta["filename"], spec.meta["md5"])])

    def _read(self) -> Mapping[str, bytes]:
        """Return each file's bytes. Nothing is unpickled before its checksum was right."""
        if self.path.is_file():
            _check(self.path, self.path.read_bytes(), CIFAR_CLASSES[self.name].tgz_md5)
            base = CIFAR_CLASSES[self.name].base_folder
            with tarfile.open(self.path) as archive:
                content = {name: _member(archive, f"{base}/{name}") for name in self._checksums}
        else:
            content = {name: _bytes(self.path / name) for name in self._checksums}
        for name, checksum in self._checksums.items():
            _check(self.path / name, content[name], checksum)
        return content


def _unpickled(payload: bytes) -> dict[str, Any]:
    return dict(pickle.loads(payload, encoding="latin1"))  # noqa: S301 - its checksum is the published one


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    if stream is None:
        raise DataError(f"{archive.name!s}: {name} is not a file. Delete the archive and download it again.")
    return stream.read()


def _check(path: Path, payload: bytes, checksum: str) -> None:
    found = hashlib.md5(payload, usedforsecurity=False).hexdigest()
    if found != checksum:
        raise DataError(
            f"{path}: MD5 {found}, {len(payload):,} bytes; the published file has {checksum}. "
            "It is damaged or altered: delete it and download it again."
        )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). {FETCH_AGAIN}") from error


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    """Return what lies in a folder, in the order of names; names that start with a dot are left alone."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}). Correct its permissions.") from error


def _pictures_in(folder: Path) -> list[os.DirEntry[str]]:
    """Return a class's files, in the order of names."""
    files = _scan(folder)
    for entry in files:
        if not entry.name.lower().endswith(SUFFIXES):
            raise DataError(
                f"{entry.path}: not one of {', '.join(SUFFIXES)}. Convert it, or move it out of the folder."
            )
    if not files:
        raise DataError(f"{folder}: no picture. Every class needs at least one. Add some or remove the class.")
    return files


def _line(path: str | Path, way_out: str) -> str:
    """Return what tells that a file has changed."""
    try:
        facts = os.stat(path)  # noqa: PTH116 - of 60,000 files: a Path each would cost more than the rest
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). {way_out}") from error
    return f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}"


def _pixels(path: Path) -> Bytes:
    """Decode one picture to ``[32, 32, 3]``."""
    try:
        with Image.open(path) as picture:
            if picture.size != (SIZE, SIZE):
                width, height = picture.size
                raise DataError(
                    f"{path}: {width}x{height} pixels. The encoders' CIFAR stem wants {SIZE}x{SIZE}. "
                    f"Resize all pictures first, e.g. `mogrify -resize {SIZE}x{SIZE}! *.png`."
                )
            if picture.mode not in LOSSLESS_MODES or "transparency" in picture.info:
                raise DataError(
                    f"{path}: mode {picture.mode}. Pictures are RGB, palette or grey, without transparency. "
                    "Convert it first, e.g. `mogrify -background white -alpha remove -colorspace sRGB`."
                )
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise
        raise DataError(f"{path}: not a readable picture ({error}; {_size(path)}). {RESTORE}") from error


def _size(path: Path) -> str:
    return f"{path.stat().st_size:,} bytes" if path.is_file() else "no file"
