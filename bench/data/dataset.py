"""Finds, verifies and loads a data set: canonical order, subsets, fingerprints."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.config.run import STAND_IN, DataSpec
from bench.data.cifar import CIFAR_CLASSES
from bench.data.find import Found, download, find
from bench.data.images import DataError, Decoded, Images, fingerprint
from bench.data.read import decoded, survey

VALIDATION_IMAGES = 5000
SPLITS_DIR = Path(__file__).resolve().parent / "splits"

__all__ = ["STAND_IN", "DataError", "Dataset", "Found", "Split", "download", "find", "load", "survey"]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Images as tensors: ``images`` uint8 ``[N, 3, 32, 32]``, contiguous, and ``labels`` int64 ``[N]``."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Dataset:
    """What a run sees.

    Attributes:
        name: as in the ``DataSpec``.
        classes: alphabetical; labels index them.
        train: the selected train images, in canonical order.
        test: the split evaluated on, be it test or validation.
        held_out: images of the train split that are not trained on.
        fingerprint: 16 hex digits over the selected images and labels of all splits.
        source: where they came from, in words.
        verified: whether the data set is, bit for bit, the published one of its name.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    held_out: Split
    fingerprint: str
    source: str
    verified: bool


def load(spec: DataSpec, data_dir: Path | None, cache_dir: Path) -> Dataset:
    """Return the images that a run sees.

    The rule of the splits: the validation split is the last 5,000 train images in canonical order, the
    train subset of n is the first n. So a subset is the same whatever it is evaluated on. With
    ``evaluate_on="validation"`` the two must not overlap, and 0 means all the rest; else 0 means all.

    Args:
        spec: which images.
        data_dir: the folder that holds data sets; the stand-in needs none.
        cache_dir: for decoded images; made if it does not exist.

    Raises:
        DataError: the data is missing, damaged, too small, or not the data the index files were made from.
    """
    found = find(spec.name, data_dir)
    if found.kind == "missing":
        fetch = f", or fetch it: `python -m bench data --download {spec.name}`" if spec.name in CIFAR_CLASSES else ""
        raise DataError(
            f"data set {spec.name!r}: {found.note}. It is looked for as an image folder "
            f"{spec.name}/{{train,test}}/CLASS/*.png, CIFAR also as official files. Name the folder that holds it "
            f"with --data-dir or SPARSE_SSL_DATA{fetch}."
        )
    pixels = decoded(found, cache_dir)
    train, evaluation = _selected(spec, pixels)
    train, held_out = _parted(spec, train)
    return Dataset(
        name=spec.name,
        classes=pixels.classes,
        train=_tensors(train),
        test=_tensors(evaluation),
        held_out=_tensors(held_out),
        fingerprint=fingerprint(train, *([held_out] if spec.held_out_images else []), evaluation),
        source=pixels.note,
        verified=pixels.verified,
    )


def _selected(spec: DataSpec, decoded: Decoded) -> tuple[Images, Images]:
    """Return the train subset and the split to evaluate on."""
    total = len(decoded.train.labels)
    on_validation = spec.evaluate_on == "validation"
    available = total - VALIDATION_IMAGES if on_validation else total
    if available < 1 or not 0 <= spec.train_images <= available:
        rest = f", of which the last {VALIDATION_IMAGES:,} are for validation" if on_validation else ""
        raise DataError(
            f"data set {spec.name!r}: {spec.train_images:,} train images asked for; it has {total:,}{rest}. "
            "Ask for fewer (0 means all), or evaluate on test."
        )
    train = _rows(decoded.train, 0, spec.train_images or available)
    _check_index(spec.name, "train", train)
    if not on_validation:
        return train, decoded.test
    validation = _rows(decoded.train, total - VALIDATION_IMAGES, total)
    _check_index(spec.name, "validation", validation)
    return train, validation


def _parted(spec: DataSpec, train: Images) -> tuple[Images, Images]:
    """Return the images to train on, and those held out: the last ones."""
    total = len(train.labels)
    if not 0 <= spec.held_out_images < total:
        raise DataError(
            f"data set {spec.name!r}: {spec.held_out_images:,} of {total:,} train images are to be held out. "
            "Hold out fewer, or ask for more train images."
        )
    kept = total - spec.held_out_images
    return _rows(train, 0, kept), _rows(train, kept, total)


def _check_index(name: str, split: str, images: Images) -> None:
    """Compare with the index file of that subset, where one is kept."""
    path = SPLITS_DIR / f"{name}-{split}-{len(images.labels)}.txt"
    if path.is_file() and path.read_text(encoding="ascii") != index_text(images):
        raise DataError(
            f"{path}: lists other images than the {split} subset found for {name!r}. References are made "
            "from that list. Use the published data set, or give yours another name."
        )


def index_text(images: Images) -> str:
    """Return the content of an index file: 16 hex digits of each image's SHA-256, a line each."""
    return "".join(f"{row[:8].tobytes().hex()}\n" for row in images.digests)


def _rows(images: Images, start: int, stop: int) -> Images:
    return Images(images.images[start:stop], images.labels[start:stop], images.digests[start:stop])


def _tensors(images: Images) -> Split:
    return Split(torch.from_numpy(images.images), torch.from_numpy(images.labels))
