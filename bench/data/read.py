"""Decoded images, from the cache or the source, and whether they are the published ones."""

import dataclasses
from pathlib import Path

from bench.data.cache import Cache
from bench.data.cifar import OfficialFiles
from bench.data.digits import stand_in
from bench.data.find import Found, find, tree_of
from bench.data.image_files import ImageFiles
from bench.data.image_folder import ImageFolder
from bench.data.images import DataError, Decoded, fingerprint
from bench.data.known import KNOWN, OWN_PIXELS
from bench.data.notice import notice
from bench.data.resized_folder import ResizedFolder

VERIFIED = "fingerprint verified"
SURVEYED_IMAGES = 20_000  # larger folders of images of any size are read when a run asks for them


def survey(data_dir: Path | None, cache_dir: Path) -> list[Found]:
    """Return what is found for the known data sets and any image folder in ``data_dir``, by reading it all.

    Raises:
        DataError: ``data_dir`` is not a folder.
    """
    names = list(KNOWN)
    if data_dir is not None and data_dir.is_dir():
        folders = sorted(path.parent.name for path in data_dir.glob("*/train") if path.is_dir())
        names += [name for name in folders if name not in names]
    return [_checked(find(name, data_dir), cache_dir) for name in names]


def _checked(found: Found, cache_dir: Path) -> Found:
    """Read a data set as a run would, unless that takes long."""
    if found.kind == "missing":
        return found
    try:
        images = 0 if found.path is None or found.kind == "official" else len(tree_of(found.name, found.path).listing())
        has_one_size = found.name in KNOWN and KNOWN[found.name].pixels > 0
        if images > SURVEYED_IMAGES and not has_one_size:
            note = f"image folder of {images:,} images, not read yet ({found.path})"
            return dataclasses.replace(found, note=note)
        read = decoded(found, cache_dir, image_size=0 if has_one_size else OWN_PIXELS)
    except DataError as error:
        return dataclasses.replace(found, note=str(error), is_usable=False)
    place = f" ({found.path})" if found.path else ""
    return dataclasses.replace(found, verified=read.verified, note=f"{read.note}{place}")


def decoded(found: Found, cache_dir: Path, *, image_size: int = 0) -> Decoded:
    """Return all images, with the last word on whether they are the published ones.

    Args:
        found: where they lie.
        cache_dir: for decoded images.
        image_size: side of the squares that images are made; 0 takes them as they are.

    Raises:
        DataError: they cannot be used.
    """
    if found.path is None:
        return stand_in()
    files = _files(found, found.path, image_size)
    read = Cache(cache_dir).decoded(found.name, files)
    if isinstance(files, OfficialFiles):
        return read
    verdict = _verdict(found.name, read, is_resized=image_size > 0)
    note = f"{read.note}, {verdict}"  # no path: it goes into records
    return dataclasses.replace(read, verified=verdict == VERIFIED, note=note)


def _files(found: Found, path: Path, image_size: int) -> ImageFiles:
    """Return the reader of a data set."""
    if found.kind == "official":
        if image_size:
            raise DataError(f"data set {found.name!r}: its official files are not resized. Leave the image size at 0.")
        return OfficialFiles(found.name, path)
    tree = tree_of(found.name, path)
    if image_size:
        return ResizedFolder(tree, image_size, notice(found.name))
    return ImageFolder(tree, KNOWN[found.name].pixels if found.name in KNOWN else 0)


def _verdict(name: str, read: Decoded, *, is_resized: bool) -> str:
    """Return, in words, whether an image folder is the published data set of its name."""
    if name not in KNOWN:
        return "not a published data set"
    known, counts = KNOWN[name], (len(read.train.labels), len(read.test.labels))
    if counts != (known.train_images, known.test_images):
        return (
            f"NOT the full set: {counts[0]:,} train and {counts[1]:,} test images of {known.train_images:,} and "
            f"{known.test_images:,}"
        )
    if not known.fingerprint:
        official = "not verified: only the official files can be"
        return "classes and counts as published" if known.has_class_list else official
    if not is_resized and fingerprint(read.train, read.test) == known.fingerprint:
        return VERIFIED
    return "NOT the published images or labels: the fingerprint differs"
