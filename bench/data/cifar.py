"""The official CIFAR archives: checked against their published sums, then decoded."""

import hashlib
import pickle
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets import CIFAR10, CIFAR100

from bench.data.image_files import ImageFiles, line
from bench.data.images import DataError, Decoded, canonical
from bench.data.known import KNOWN

FETCH_AGAIN = "All published files are needed: download them again."
CIFAR_CLASSES = {"cifar10": CIFAR10, "cifar100": CIFAR100}


@dataclass(frozen=True, slots=True)
class OfficialFiles(ImageFiles):
    """CIFAR-10 or CIFAR-100 as published: the unpacked folder or the ``.tar.gz``, every file checked by MD5.

    Names and checksums are torchvision's.
    """

    name: str
    path: Path

    @property
    def place(self) -> str:
        """Where it lies."""
        return f"{self.path}"

    def listing(self) -> list[str]:
        """Return the archive, or the files in the folder."""
        if self.path.is_file():
            return [line(self.path, FETCH_AGAIN)]
        return [line(self.path / name, FETCH_AGAIN) for name in self._checksums]

    def decode(self, scratch: Path) -> Decoded:  # noqa: ARG002 - it fits into the memory
        """Check and read every file."""
        spec: Any = CIFAR_CLASSES[self.name]
        side = KNOWN[self.name].pixels
        content = self._read()
        names = _unpickled(content[spec.meta["filename"]])[spec.meta["key"]]
        classes = tuple(sorted(names))
        label_of = np.array([classes.index(name) for name in names], dtype=np.int64)  # alphabetical already
        splits = []
        for files in (spec.train_list, spec.test_list):
            batches = [_unpickled(content[name]) for name, _ in files]
            pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, side, side)
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
