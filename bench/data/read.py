"""Decoded images, from the cache or the source, and whether they are the published ones."""

import dataclasses
from pathlib import Path

from bench.config.run import STAND_IN
from bench.data.cache import Cache
from bench.data.cifar import CIFAR_CLASSES, OfficialFiles
from bench.data.digits import stand_in
from bench.data.find import Found, find
from bench.data.image_folder import ImageFolder
from bench.data.images import DataError, Decoded, fingerprint
from bench.data.source import ImageFiles

FULL_COUNTS = (50_000, 10_000)  # train and test images of CIFAR-10 and of CIFAR-100
# Over all 60,000 images of CIFAR-10 and their labels. An image folder with this fingerprint is CIFAR-10.
FULL_FINGERPRINTS = {"cifar10": "664a5bf99a641e99"}
VERIFIED = "fingerprint verified"


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
        pixels = decoded(found, cache_dir)
    except DataError as error:
        return dataclasses.replace(found, note=str(error), is_usable=False)
    place = f" ({found.path})" if found.path else ""
    return dataclasses.replace(found, verified=pixels.verified, note=f"{pixels.note}{place}")


def decoded(found: Found, cache_dir: Path) -> Decoded:
    """Return all images, with the last word on whether they are the published ones."""
    if found.path is None:
        return stand_in()
    official = found.kind == "official"
    files: ImageFiles = OfficialFiles(found.name, found.path) if official else ImageFolder(found.path)
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
        return f"NOT the full set: {counts[0]:,} train and {counts[1]:,} test images of 50,000 and 10,000"
    if name not in FULL_FINGERPRINTS:
        return "not verified: only the official files can be"
    if fingerprint(decoded.train, decoded.test) == FULL_FINGERPRINTS[name]:
        return VERIFIED
    return "NOT the published images or labels: the fingerprint differs"
