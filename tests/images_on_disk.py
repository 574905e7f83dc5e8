"""Small data sets written to disk as users have them."""

import hashlib
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

CLASSES = ("ant", "bee", "cat")
Pixels = npt.NDArray[np.uint8]


def pixels_of(count: int, seed: int = 0) -> Pixels:
    """Return random images ``[count, 32, 32, 3]``."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def labels_of(count: int) -> list[int]:
    return [index % len(CLASSES) for index in range(count)]


def write_split(folder: Path, pixels: Pixels, labels: Sequence[int], *, suffix: str = "png") -> list[Path]:
    """Write lossless images into class folders; return their paths."""
    paths = []
    for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        path = folder / CLASSES[label] / f"{index:04d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, lossless=True) if suffix == "webp" else Image.fromarray(image).save(path)
        paths.append(path)
    return paths


def write_folder(root: Path, *, train: int = 12, test: int = 6, suffix: str = "png") -> Path:
    """Write an image folder of random images at ``root``."""
    write_split(root / "train", pixels_of(train, seed=1), labels_of(train), suffix=suffix)
    write_split(root / "test", pixels_of(test, seed=2), labels_of(test), suffix=suffix)
    return root


SIZES = ((24, 24), (40, 30), (31, 57), (16, 20), (90, 25))
MODES = ("RGB", "L", "CMYK", "P")


def write_varied(root: Path, *, train: int = 20, test: int = 8) -> Path:
    """Write an image folder of many sizes and modes, as a user has it; one class is darker than the other."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for index in range(count):
            width, height = SIZES[index % len(SIZES)]
            mode, label = MODES[index % len(MODES)], index % 2
            pixels = generator.integers(100 * label, 156 + 100 * label, (height, width, 3), dtype=np.uint8)
            path = root / split / CLASSES[label] / f"{index:03d}.{'jpg' if mode == 'CMYK' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).convert(mode).save(path)
    return root


def write_official(root: Path, monkeypatch: pytest.MonkeyPatch, *, train: int = 12, test: int = 6) -> Path:
    """Write the images of ``write_folder`` as CIFAR-10's files, and make torchvision expect them."""
    folder = root / str(CIFAR10.base_folder)
    folder.mkdir(parents=True)
    md5 = {
        "data_batch_1": _dump(folder / "data_batch_1", _batch(pixels_of(train, seed=1), labels_of(train))),
        "test_batch": _dump(folder / "test_batch", _batch(pixels_of(test, seed=2), labels_of(test))),
        "batches.meta": _dump(folder / "batches.meta", {"label_names": list(CLASSES)}),
    }
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", md5["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5["batches.meta"]})
    return folder


def packed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pack the official folder into an archive and remove it."""
    path = folder.with_name(CIFAR10.filename)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname=folder.name)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    return path


def _batch(pixels: Pixels, labels: list[int]) -> dict[str, Any]:
    return {"data": pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1), "labels": labels}


def _dump(path: Path, content: dict[str, Any]) -> str:
    path.write_bytes(pickle.dumps(content))
    return hashlib.md5(path.read_bytes()).hexdigest()
