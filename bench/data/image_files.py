"""A data set as it lies on disk: an image-folder tree, or the CIFAR files of their author."""

import abc
import os
import stat
from pathlib import Path

from bench.data.images import DataError, Decoded


class ImageFiles(abc.ABC):
    """A data set on disk.

    Attributes:
        is_resumable: whether an interrupted ``decode`` goes on from what it left in its scratch folder.
    """

    is_resumable = False

    @property
    @abc.abstractmethod
    def place(self) -> str:
        """Where it lies and how it is read: the same for changed files at the same place."""

    @abc.abstractmethod
    def listing(self) -> list[str]:
        """Return one line per file: what is known of it without reading it. Changed data changes it.

        Raises:
            DataError: the tree is not as it should be.
        """

    @abc.abstractmethod
    def decode(self, scratch: Path) -> Decoded:
        """Read every image.

        Args:
            scratch: a folder for arrays that are too large for the memory.

        Raises:
            DataError: naming the file that cannot be used.
        """


def line(path: str | Path, way_out: str) -> str:
    """Return what tells that a file has changed: bytes, times of change of content and of the file itself, inode.

    Raises:
        DataError: there is no such file, or it is a pipe, a device or a folder, which could hang or never end.
    """
    try:
        facts = os.stat(path)  # noqa: PTH116 - of 60,000 files: a Path each would cost more than the rest
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). {way_out}") from error
    if not stat.S_ISREG(facts.st_mode):
        raise DataError(f"{path}: not a regular file. Only regular files are read. {way_out}")
    return f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\0{facts.st_ctime_ns}\0{facts.st_ino}"
