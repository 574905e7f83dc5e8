"""Finds, verifies and loads a data set: canonical order, subsets, fingerprints."""

import contextlib
import dataclasses
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from bench.config.run import DataSpec
from bench.data.cache import Cache
from bench.data.digits import STAND_IN, stand_in
from bench.data.pictures import DataError, Decoded, Pictures, fingerprint
from bench.data.source import CIFAR_CLASSES, ImageFolder, OfficialFiles, PictureFiles

VALIDATION_IMAGES = 5000
SPLITS_DIR = Path(__file__).resolve().parent / "splits"
FULL_COUNTS = (50_000, 10_000)  # train and test pictures of CIFAR-10 and of CIFAR-100
# Over all 60,000 pictures of CIFAR-10 and their labels. An image folder with this fingerprint is CIFAR-10.
FULL_FINGERPRINTS = {"cifar10": "664a5bf99a641e99"}
VERIFIED = "fingerprint verified"
SECONDS_WITHOUT_AN_ANSWER = 20.0

__all__ = ["STAND_IN", "DataError", "Dataset", "Found", "Split", "download", "find", "load", "survey"]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Pictures as tensors: ``images`` uint8 ``[N, 3, 32, 32]``, contiguous, and ``labels`` int64 ``[N]``."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Dataset:
    """What a run sees.

    Attributes:
        name: as in the ``DataSpec``.
        classes: alphabetical; labels index them.
        train: the selected train pictures, in canonical order.
        test: the split evaluated on, be it test or validation.
        held_out: pictures of the train split that are not trained on.
        fingerprint: 16 hex digits over the selected pictures and labels of all splits.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where a data set was found.

    Attributes:
        name: of the data set.
        kind: ``official`` files, image ``folder``, embedded ``stand-in``, or ``missing``.
        path: of what was found; ``None`` where nothing was, and for the stand-in.
        verified: whether the pictures were read and are the published ones; ``find`` alone reads none.
        note: in words: the source, or what is wrong.
        is_usable: whether ``load`` would succeed, as far as is known.
    """

    name: str
    kind: Literal["official", "folder", "stand-in", "missing"]
    path: Path | None = None
    verified: bool = False
    note: str
    is_usable: bool = True


def find(name: str, data_dir: Path | None) -> Found:
    """Return where ``name`` lies: official files before an image folder. Reads no picture.

    Raises:
        DataError: ``data_dir`` is not a folder, or ``name`` is not a plain name.
    """
    if name == STAND_IN:
        return Found(name=name, kind="stand-in", verified=True, note="embedded handwritten digits")
    if Path(name).name != name or name.startswith(".") or not name:
        raise DataError(
            f"data set {name!r}: a name is one folder's name. Put the folders above it in the data directory."
        )
    if data_dir is None:
        return Found(name=name, kind="missing", note="no data directory is named", is_usable=False)
    if not data_dir.is_dir():
        raise DataError(f"{data_dir}: no such folder. The data directory must exist. Make it, or name another.")
    if name in CIFAR_CLASSES:
        spec = CIFAR_CLASSES[name]
        for path in (data_dir / spec.base_folder, data_dir / spec.filename):
            if path.exists():
                return Found(name=name, kind="official", path=path, note=f"official files {path}, not checked yet")
    folder = data_dir / name
    if folder.is_dir():
        return Found(name=name, kind="folder", path=folder, note=f"image folder {folder}, not checked yet")
    return Found(name=name, kind="missing", note=f"nothing of that name in {data_dir}", is_usable=False)


def survey(data_dir: Path | None, cache_dir: Path) -> list[Found]:
    """Return what is found for the known data sets and any image folder in ``data_dir``, by reading it all.

    Raises:
        DataError: ``data_dir`` is not a folder.
    """
    names = [*CIFAR_CLASSES, STAND_IN]
    if data_dir is not None and data_dir.is_dir():
        folders = sorted(path.parent.name for path in data_dir.glob("*/train") if path.is_dir())
        names += [name for name in folders if name not in names]
    return [_checked(find(name, data_dir), cache_dir) for name in names]


def _checked(found: Found, cache_dir: Path) -> Found:
    if found.kind == "missing":
        return found
    try:
        decoded = _decoded(found, cache_dir)
    except DataError as error:
        return dataclasses.replace(found, note=str(error), is_usable=False)
    place = f" ({found.path})" if found.path else ""
    return dataclasses.replace(found, verified=decoded.verified, note=f"{decoded.note}{place}")


def download(name: str, data_dir: Path) -> Found:
    """Fetch CIFAR-10 or CIFAR-100 into ``data_dir`` with torchvision, which shows its progress.

    Raises:
        DataError: there is nothing to download under that name, or it could not be fetched.
    """
    if name not in CIFAR_CLASSES:
        raise DataError(
            f"data set {name!r} cannot be downloaded, only {' and '.join(CIFAR_CLASSES)} can. "
            f"Put it into the data directory as {name}/{{train,test}}/CLASS/*.png."
        )
    spec: Any = CIFAR_CLASSES[name]
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with (
            _network_patience(SECONDS_WITHOUT_AN_ANSWER),
            tempfile.TemporaryDirectory(dir=data_dir, prefix=".partial-") as partial,  # goes if interrupted
        ):
            spec(partial, download=True)
            (Path(partial) / spec.base_folder).rename(data_dir / spec.base_folder)
    except (OSError, RuntimeError) as error:  # no network is a URLError, a damaged file a RuntimeError
        raise DataError(
            f"{data_dir / spec.filename}: could not be fetched ({error}). Fetch {spec.url} on another machine, "
            "put it into a folder as it is, and name that folder with --data-dir or SPARSE_SSL_DATA."
        ) from error
    return find(name, data_dir)


@contextlib.contextmanager
def _network_patience(seconds: float) -> Iterator[None]:
    """Let a network that never answers be an error: torchvision itself sets no limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def load(spec: DataSpec, data_dir: Path | None, cache_dir: Path) -> Dataset:
    """Return the pictures that a run sees.

    The rule of the splits: the validation split is the last 5,000 train pictures in canonical order, the
    train subset of n is the first n. So a subset is the same whatever it is evaluated on. With
    ``evaluate_on="validation"`` the two must not overlap, and 0 means all the rest; else 0 means all.

    Args:
        spec: which pictures.
        data_dir: the folder that holds data sets; the stand-in needs none.
        cache_dir: for decoded pictures; made if it does not exist.

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
    decoded = _decoded(found, cache_dir)
    train, evaluation = _selected(spec, decoded)
    train, held_out = _parted(spec, train)
    return Dataset(
        name=spec.name,
        classes=decoded.classes,
        train=_tensors(train),
        test=_tensors(evaluation),
        held_out=_tensors(held_out),
        fingerprint=fingerprint(train, *([held_out] if spec.held_out_images else []), evaluation),
        source=decoded.note,
        verified=decoded.verified,
    )


def _decoded(found: Found, cache_dir: Path) -> Decoded:
    """Return all pictures, with the last word on whether they are the published ones."""
    if found.path is None:
        return stand_in()
    official = found.kind == "official"
    files: PictureFiles = OfficialFiles(found.name, found.path) if official else ImageFolder(found.path)
    decoded = Cache(cache_dir).decoded(found.name, files)
    if official:
        return decoded
    verdict = _verdict(found.name, decoded)
    note = f"image folder{verdict and ', ' + verdict}"  # no path: it goes into records
    return dataclasses.replace(decoded, verified=verdict == VERIFIED, note=note)


def _verdict(name: str, decoded: Decoded) -> str:
    """Return, in words, whether an image folder is the published data set of its name."""
    counts = len(decoded.train.labels), len(decoded.test.labels)
    if name not in CIFAR_CLASSES:
        return "not a published data set"
    if counts != FULL_COUNTS:
        return f"NOT the full set: {counts[0]:,} train and {counts[1]:,} test pictures of 50,000 and 10,000"
    if name not in FULL_FINGERPRINTS:
        return "not verified: only the official files can be"
    if fingerprint(decoded.train, decoded.test) == FULL_FINGERPRINTS[name]:
        return VERIFIED
    return "NOT the published pictures or labels: the fingerprint differs"


def _selected(spec: DataSpec, decoded: Decoded) -> tuple[Pictures, Pictures]:
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


def _parted(spec: DataSpec, train: Pictures) -> tuple[Pictures, Pictures]:
    """Return the pictures to train on, and those held out: the last ones."""
    total = len(train.labels)
    if not 0 <= spec.held_out_images < total:
        raise DataError(
            f"data set {spec.name!r}: {spec.held_out_images:,} of {total:,} train images are to be held out. "
            "Hold out fewer, or ask for more train images."
        )
    kept = total - spec.held_out_images
    return _rows(train, 0, kept), _rows(train, kept, total)


def _check_index(name: str, split: str, pictures: Pictures) -> None:
    """Compare with the index file of that subset, where one is kept."""
    path = SPLITS_DIR / f"{name}-{split}-{len(pictures.labels)}.txt"
    if path.is_file() and path.read_text(encoding="ascii") != index_text(pictures):
        raise DataError(
            f"{path}: lists other pictures than the {split} subset found for {name!r}. References are made "
            "from that list. Use the published data set, or give yours another name."
        )


def index_text(pictures: Pictures) -> str:
    """Return the content of an index file: 16 hex digits of each picture's SHA-256, a line each."""
    return "".join(f"{row[:8].tobytes().hex()}\n" for row in pictures.digests)


def _rows(pictures: Pictures, start: int, stop: int) -> Pictures:
    return Pictures(pictures.images[start:stop], pictures.labels[start:stop], pictures.digests[start:stop])


def _tensors(pictures: Pictures) -> Split:
    return Split(torch.from_numpy(pictures.images), torch.from_numpy(pictures.labels))
