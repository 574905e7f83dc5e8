"""A folder of images, NAME/{train,test}/CLASS/FILE."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data.images import MIN_CLASSES, SIZE, Bytes, DataError, Decoded, Images, canonical
from bench.data.source import ImageFiles, line

SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")
SPLITS = ("train", "test")
LOSSLESS_MODES = (
    "RGB",
    "P",
    "L",
    "1",
)  # a palette or grey levels become RGB without loss; alpha, CMYK, 16 bit do not
RESTORE = "Restore it, or remove it."


@dataclass(frozen=True, slots=True)
class ImageFolder(ImageFiles):
    """A tree ``path/{train,test}/CLASS/*.{png,webp,jpg}`` of 32x32 images. Classes are alphabetical."""

    path: Path

    def listing(self) -> list[str]:
        """Return the image files of both splits."""
        return [
            line(entry.path, RESTORE)
            for split in SPLITS
            for name in self._classes(split)
            for entry in _images_in(self.path / split / name)
        ]

    def decode(self) -> Decoded:
        """Read every image. The pixels of a JPEG depend on the version of its decoder."""
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

    def _split(self, split: str, classes: Sequence[str]) -> Images:
        files = [
            (Path(entry.path), label)
            for label, name in enumerate(classes)
            for entry in _images_in(self.path / split / name)
        ]
        pixels = np.empty((len(files), SIZE, SIZE, 3), dtype=np.uint8)
        for row, (path, _) in enumerate(files):
            pixels[row] = _pixels(path)
        return canonical(pixels, np.array([label for _, label in files], dtype=np.int64))


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
            raise DataError(
                f"{entry.path}: not one of {', '.join(SUFFIXES)}. Convert it, or move it out of the folder."
            )
    if not files:
        raise DataError(f"{folder}: no image. Every class needs at least one. Add some or remove the class.")
    return files


def _pixels(path: Path) -> Bytes:
    """Decode one image to ``[32, 32, 3]``."""
    try:
        with Image.open(path) as image:
            if image.size != (SIZE, SIZE):
                width, height = image.size
                raise DataError(
                    f"{path}: {width}x{height} pixels. The encoders' CIFAR stem wants {SIZE}x{SIZE}. "
                    f"Resize all images first, e.g. `mogrify -resize {SIZE}x{SIZE}! *.png`."
                )
            if image.mode not in LOSSLESS_MODES or "transparency" in image.info:
                raise DataError(
                    f"{path}: mode {image.mode}. Images are RGB, palette or grey, without transparency. "
                    "Convert it first, e.g. `mogrify -background white -alpha remove -colorspace sRGB`."
                )
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise
        raise DataError(f"{path}: not a readable image ({error}; {_size(path)}). {RESTORE}") from error


def _size(path: Path) -> str:
    return f"{path.stat().st_size:,} bytes" if path.is_file() else "no file"
