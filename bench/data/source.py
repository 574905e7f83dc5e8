"""Reads images as they lie on disk: an image-folder tree, or the CIFAR files of their author."""

import abc
import os
from pathlib import Path

from bench.data.images import DataError, Decoded


class ImageFiles(abc.ABC):
    """A data set on disk."""

    @abc.abstractmethod
    def listing(self) -> list[str]:
        """Return one line per file: path, bytes, time of change. Changed data changes it.

        Raises:
            DataError: the tree is not as it should be.
        """

    @abc.abstractmethod
    def decode(self) -> Decoded:
        """Read every image.

        Raises:
            DataError: naming the file that cannot be used.
        """


def line(path: str | Path, way_out: str) -> str:
    """Return what tells that a file has changed."""
    try:
        facts = os.stat(path)  # noqa: PTH116 - of 60,000 files: a Path each would cost more than the rest
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). {way_out}") from error
    return f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}"
