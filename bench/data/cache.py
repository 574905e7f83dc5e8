"""Decoded images kept on disk and memory-mapped: decoding is done once, and workers share the pages."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from filelock import FileLock

from bench.data.cache_root import VARIABLE
from bench.data.image_files import ImageFiles
from bench.data.images import Bytes, DataError, Decoded, Images, Labels
from bench.files import reserve, write_atomically

FORMAT = 2  # raise it whenever the same files would be decoded to something else
SUMMED_BYTES = 2**30  # larger arrays are told by size, time and inode: their sum would take minutes at every start
_KINDS = ("images", "labels", "digests")
_ARRAYS = tuple(f"{split}-{kind}.npy" for split in ("train", "test") for kind in _KINDS)


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder ``NAME-PLACE/KEY`` under ``root`` per data set.

    PLACE stands for where the files lie; KEY covers what is known of every file without reading it (path, size, times
    of change, inode), so changed data is decoded anew. It appears whole or not at all, and what it replaces goes. A
    header, itself under a SHA-256, holds that of every array, checked at every opening: what is damaged is made
    again. A lock per place lets one process decode while others wait.
    """

    root: Path

    def decoded(self, name: str, files: ImageFiles) -> Decoded:
        """Return the images of ``files``, from the cache where it holds them.

        The arrays are mapped copy-on-write: nothing that happens to them in memory reaches the disk.

        Raises:
            DataError: the files cannot be used, or the cache folder cannot be written.
        """
        key = _digest("\n".join([f"format {FORMAT}, Pillow {PIL.__version__}", *files.listing()]))
        place = self.root / f"{name}-{_digest(files.place)}"
        folder = place / key
        try:
            place.mkdir(parents=True, exist_ok=True)
            with FileLock(place / "lock", fallback_to_soft=False):  # a soft one would outlive a killed process
                _tidy(place, keep={"lock", key, f"{key}.partial"})
                if not _is_sound(folder):
                    shutil.rmtree(folder, ignore_errors=True)
                    _write(folder, files)
                return _mapped(folder)
        except OSError as error:
            raise DataError(
                f"{error.filename or self.root}: the cache of decoded images cannot be used "
                f"({error.strerror or error}). Set {VARIABLE} to a folder that can be written and locked, and has room."
            ) from error


def _tidy(place: Path, keep: set[str]) -> None:
    """Remove what killed processes and former states of the data have left; the lock says that nobody is at it."""
    for path in place.iterdir():
        if path.name not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write(folder: Path, files: ImageFiles) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    if not files.is_resumable:
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(exist_ok=True)
    try:
        decoded = files.decode(partial)
        for split, images in (("train", decoded.train), ("test", decoded.test)):
            for kind in _KINDS:
                _save(partial / f"{split}-{kind}.npy", getattr(images, kind))
        header = {
            "key": folder.name,
            "classes": decoded.classes,
            "verified": decoded.verified,
            "note": decoded.note,
            "remarks": decoded.remarks,
            "arrays": {name: _facts(partial / name) | {"sha256": _checksum(partial / name)} for name in _ARRAYS},
        }
        sealed = {"header": header, "sha256": _seal(header)}
        write_atomically(partial / "header.json", json.dumps(sealed, indent=1).encode())
        _tidy(partial, keep={"header.json", *_ARRAYS})
        partial.rename(folder)
    except BaseException:
        if not files.is_resumable:
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _save(path: Path, array: Bytes | Labels) -> None:
    """Write an array, unless it is a mapped one that lies there already."""
    if isinstance(array, np.memmap) and array.filename is not None and Path(array.filename) == path:
        array.flush()
    else:
        path.unlink(missing_ok=True)
        reserve(path, array.nbytes)  # NumPy would say how many bytes it could not write, and not why
        with path.open("r+b") as stream:
            np.save(stream, array)


def _is_sound(folder: Path) -> bool:
    """Return whether the folder holds exactly what was written to it."""
    return not damaged(folder, largest=SUMMED_BYTES)


def damaged(folder: Path, *, largest: int | None = None) -> tuple[str, ...]:
    """Return the names of the files of a cache's folder that are not what was written to it.

    Args:
        folder: holds a header and its arrays.
        largest: arrays of more bytes are told by size, time and inode; None reads them all.
    """
    header = "header.json"
    try:
        sealed = json.loads((folder / header).read_text(encoding="utf-8"))
        arrays = sealed["header"]["arrays"]
        is_of_here = sealed["header"]["key"] == folder.name  # not the cache of other files, copied
        if sealed["sha256"] != _seal(sealed["header"]) or not is_of_here or set(arrays) != set(_ARRAYS):
            return (header,)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing, cut short or scribbled over
        return (header,)
    return tuple(name for name, written in arrays.items() if not _is_as_written(folder / name, written, largest))


def _is_as_written(path: Path, written: dict[str, Any], largest: int | None) -> bool:
    try:
        facts = _facts(path)
        if facts["bytes"] != written["bytes"]:
            return False
        if largest is not None and facts["bytes"] > largest:
            return all(written[name] == value for name, value in facts.items())
        return bool(written["sha256"] == _checksum(path))
    except OSError:
        return False


def _mapped(folder: Path) -> Decoded:
    header = json.loads((folder / "header.json").read_text(encoding="utf-8"))["header"]
    train, test = (
        Images(*(np.load(folder / f"{split}-{kind}.npy", mmap_mode="c") for kind in _KINDS))
        for split in ("train", "test")
    )
    return Decoded(
        classes=tuple(header["classes"]),
        train=train,
        test=test,
        verified=header["verified"],
        note=header["note"],
        remarks=tuple(header["remarks"]),
    )


def _facts(path: Path) -> dict[str, int]:
    facts = path.stat()
    return {"bytes": facts.st_size, "changed_ns": facts.st_mtime_ns, "inode": facts.st_ino}


def _seal(header: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _checksum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
