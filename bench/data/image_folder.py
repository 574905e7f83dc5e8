"""A folder of square images of one size, read as they are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data.image_file import conversions, in_order, opened
from bench.data.image_files import ImageFiles
from bench.data.images import Bytes, DataError, Decoded, Images, canonical
from bench.data.tree import Tree


@dataclass(frozen=True, slots=True)
class ImageFolder(ImageFiles):
    """A tree of square images that all have one size.

    Attributes:
        tree: where they lie.
        pixels: the side that they must have; 0: that of the first.
    """

    tree: Tree
    pixels: int = 0

    @property
    def place(self) -> str:
        """Where it lies."""
        return f"{self.tree.path}"

    def listing(self) -> list[str]:
        """Return the image files of both splits."""
        return self.tree.listing()

    def decode(self, scratch: Path) -> Decoded:  # noqa: ARG002 - what is not resized fits into the memory
        """Read every image. The pixels of a JPEG depend on the version of its decoder."""
        classes = self.tree.classes()
        train, train_modes = self._split("train", self.pixels)
        test, test_modes = self._split(self.tree.scored_folder, train.images.shape[-1])
        told = conversions([*train_modes, *test_modes])
        remarks = (f"{self.tree.path}: {told}.",) if told else ()
        return Decoded(classes, train, test, verified=False, note="image folder", remarks=remarks)

    def _split(self, split: str, side: int) -> tuple[Images, list[str]]:
        """Return the images of a split, and the mode that each had."""
        files = self.tree.files(split)
        if not side:
            with opened(files[0][0]) as first:
                side = min(first.size)

        def read(file: tuple[str, int]) -> tuple[Bytes, str]:
            return _square(file[0], side)

        pixels, modes = np.empty((len(files), side, side, 3), dtype=np.uint8), list[str]()
        for row, (image, mode) in enumerate(in_order(read, files)):
            pixels[row] = image
            modes.append(mode)
        return canonical(pixels, np.array([label for _, label in files], dtype=np.int64)), modes


def _square(path: str, side: int) -> tuple[Bytes, str]:
    """Decode one image to ``[side, side, 3]``; return it and its mode."""
    with opened(path) as image:
        if image.size != (side, side):
            raise DataError(
                f"{path}: {image.width}x{image.height} pixels, {side}x{side} are wanted. Images of other sizes are "
                f"resized while they are loaded, and the files stay as they are: --set data.image_size={side}. Data "
                "that is known by name is taken as published: give yours another name."
            )
        return np.asarray(image.convert("RGB")), image.mode
