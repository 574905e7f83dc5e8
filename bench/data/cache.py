"""Decoded images kept on disk and memory-mapped: decoding is done once, and workers share the pages."""

import contextlib
import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL

from bench.data.images import DataError, Decoded, Images
from bench.data.source import ImageFiles

FORMAT = 1  # raise it whenever the same files would be decoded to something else
_ARRAYS = ("images", "labels", "digests")


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder ``NAME-KEY`` under ``root`` per data set.

    KEY covers the path, size and time of change of every file, so changed data is decoded anew. A folder
    appears whole or not at all. A header holds each array's SHA-256, checked at every opening: what is
    damaged is made again. A lock per key lets one process decode while others wait.
    """

    root: Path

    def decoded(self, name: str, files: ImageFiles) -> Decoded:
        """Return the images of ``files``, from the cache where it holds them.

        The arrays are mapped copy-on-write: nothing that happens to them in memory reaches the disk.

        Raises:
            DataError: the files cannot be used, or the cache folder cannot be written.
        """
        text = "\n".join([f"format {FORMAT}, Pillow {PIL.__version__}", *files.listing()])
        folder = self.root / f"{name}-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with _lock(folder.with_name(folder.name + ".lock")):
                if not _is_sound(folder):
                    shutil.rmtree(folder, ignore_errors=True)
                    _write(folder, files.decode())
                return _mapped(folder)
        except OSError as error:
            raise DataError(
                f"{error.filename or self.root}: the cache of decoded images cannot be used "
                f"({error.strerror}). Name a folder that can be written and has room."
            ) from error


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # let go when the stream closes, also when the process dies
        yield


def _write(folder: Path, decoded: Decoded) -> None:
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        checksums = {}
        for split, images in (("train", decoded.train), ("test", decoded.test)):
            for kind in _ARRAYS:
                name = f"{split}-{kind}.npy"
                np.save(partial / name, getattr(images, kind))
                checksums[name] = _checksum(partial / name)
        header = {
            "classes": decoded.classes,
            "verified": decoded.verified,
            "note": decoded.note,
            "sha256": checksums,
        }
        (partial / "header.json").write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _is_sound(folder: Path) -> bool:
    """Return whether the folder holds exactly what was written to it."""
    try:
        header = json.loads((folder / "header.json").read_text(encoding="utf-8"))
        return all(_checksum(folder / name) == found for name, found in header["sha256"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing, cut short or scribbled over
        return False


def _mapped(folder: Path) -> Decoded:
    header = json.loads((folder / "header.json").read_text(encoding="utf-8"))
    train, test = (
        Images(*(np.load(folder / f"{split}-{kind}.npy", mmap_mode="c") for kind in _ARRAYS))
        for split in ("train", "test")
    )
    return Decoded(tuple(header["classes"]), train, test, verified=header["verified"], note=header["note"])


def _checksum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
