"""A folder of images of any size: made small once, and an interrupted start goes on where it was."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.data.image_file import conversions, in_order, opened
from bench.data.image_files import ImageFiles
from bench.data.images import Bytes, DataError, Decoded, Images, canonical_order, joined
from bench.data.tree import Tree
from bench.files import reserve, write_atomically

_NOTED_EVERY = 1000  # images between two notes of how far it is

Tell = Callable[[int, int], None]


def untold(_done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class ResizedFolder(ImageFiles):
    """A tree of images of any size, made squares of one size.

    The short side becomes ``side`` pixels (bilinear with antialiasing, as torchvision resizes), and the centre square
    is kept. Where images are resized, pixels depend on Pillow's version: so their order and the fingerprint go by the
    SHA-256 of the files. All files are read once for it; the images are then written in canonical order to a mapped
    file, so that no memory limits their number.

    Attributes:
        tree: where they lie.
        side: of the squares.
        tell: called with (images done, images in all).
    """

    tree: Tree
    side: int
    tell: Tell = untold

    is_resumable = True

    @property
    def place(self) -> str:
        """Where it lies, and the side."""
        return f"{self.tree.path}\0{self.side}"

    def listing(self) -> list[str]:
        """Return the image files of both splits, after the side."""
        return [f"short side {self.side}", *self.tree.listing()]

    def decode(self, scratch: Path) -> Decoded:
        """Resize every image that a former start has not done yet."""
        classes = self.tree.classes()
        files = {split: self.tree.files(split) for split in self.tree.splits}
        total, done, splits, modes = sum(map(len, files.values())), 0, list[Images](), list[str]()
        for split, listed in zip(("train", "test"), files.values(), strict=True):
            images, found = self._split(scratch, split, listed, done, total)
            done += len(listed)
            splits.append(images)
            modes += found
        told = conversions(modes)
        note = f"image folder, short sides resized to {self.side} pixels"
        remarks = (f"{self.tree.path}: {told}.",) if told else ()
        return Decoded(classes, splits[0], splits[1], verified=False, note=note, remarks=remarks)

    def _split(
        self, scratch: Path, split: str, files: Sequence[tuple[str, int]], done: int, total: int
    ) -> tuple[Images, list[str]]:
        digests = _kept(scratch / f"{split}-files.npy", lambda: joined(list(in_order(_digest, files))))
        labels = np.array([label for _, label in files], dtype=np.int64)
        order = canonical_order(digests, labels)
        path, note = scratch / f"{split}-images.npy", scratch / f"{split}-done.txt"
        modes = note.read_text(encoding="ascii").split() if note.exists() and path.exists() else []
        shape = (len(files), 3, self.side, self.side)
        if not modes:
            _empty(path, shape)
        images: Any = np.lib.format.open_memmap(path, "r+", dtype=np.uint8, shape=shape)
        rest = [files[row][0] for row in order[len(modes) :]]
        for image, mode in in_order(self._square, rest):
            images[len(modes)] = image
            modes.append(mode)
            if len(modes) % _NOTED_EVERY == 0 or len(modes) == len(files):
                images.flush()
                write_atomically(note, "\n".join(modes).encode())
                self.tell(done + len(modes), total)
        return Images(images, labels[order], np.ascontiguousarray(digests[order])), modes

    def _square(self, path: str) -> tuple[Bytes, str]:
        """Return one image as bytes ``[3, side, side]``, and the mode that it had."""
        with opened(path) as image:
            mode, side = image.mode, self.side
            rgb = image.convert("RGB")
        width, height = rgb.size
        short = min(width, height)
        size = (side, int(side * height / width)) if width == short else (int(side * width / height), side)
        if min(size) < 1:
            raise DataError(f"{path}: {width}x{height} pixels cannot be resized. Remove it.")
        resized = rgb if short == side else rgb.resize(size, Image.Resampling.BILINEAR)
        left, top = (round((length - side) / 2) for length in resized.size)
        return np.asarray(resized.crop((left, top, left + side, top + side))).transpose(2, 0, 1), mode


def _empty(path: Path, shape: tuple[int, ...]) -> None:
    """Make a file for bytes of this shape, with room for all of them: a mapped file has none by itself."""
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
        header_bytes = stream.tell()
    reserve(path, header_bytes + math.prod(shape))


def _digest(file: tuple[str, int]) -> bytes:
    try:
        with open(file[0], "rb") as stream:  # noqa: PTH123 - one of very many
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise DataError(f"{file[0]}: cannot be read ({error.strerror}). Correct its permissions.") from error


def _kept(path: Path, make: Callable[[], Bytes]) -> Bytes:
    """Return an array from its file, made first where there is none."""
    if not path.exists():
        partial = path.with_suffix(".partial.npy")
        np.save(partial, make())
        partial.rename(path)
    array: Bytes = np.load(path)
    return array
