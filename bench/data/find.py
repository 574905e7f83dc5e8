"""Where a data set lies, and how a missing one is downloaded."""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.data.cifar import CIFAR_CLASSES
from bench.data.digits import NOTE
from bench.data.images import DataError
from bench.data.known import KNOWN, Content, class_list, known_content
from bench.data.tree import Tree

SECONDS_WITHOUT_AN_ANSWER = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where a data set was found.

    Attributes:
        name: of the data set.
        kind: ``official`` files, image ``folder``, embedded ``stand-in``, or ``missing``.
        path: of what was found; ``None`` where nothing was, and for the stand-in.
        verified: whether the images were read and are the published ones; ``find`` alone reads none.
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
    """Return where ``name`` lies: official files before an image folder. Reads no image.

    Raises:
        DataError: ``data_dir`` is not a folder, or ``name`` is not a plain name.
    """
    if name in KNOWN and KNOWN[name].is_embedded:
        return Found(name=name, kind="stand-in", verified=True, note=NOTE)
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
    for folder in (data_dir / each for each in (KNOWN[name].folders if name in KNOWN else ()) or (name,)):
        if folder.is_dir():
            return Found(name=name, kind="folder", path=folder, note=f"image folder {folder}, not checked yet")
    return Found(name=name, kind="missing", note=f"nothing of that name in {data_dir}", is_usable=False)


def place_of(named: str, data_dir: Path | None) -> tuple[str, Path | None]:
    """Return the data set's name and data directory where a user gave one or a path; a path holds a separator.

    Raises:
        DataError: there is no such folder.
    """
    if os.sep not in named:
        return named, data_dir
    folder = Path(named).expanduser().absolute()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. It is to hold train/CLASS/FILE and test/CLASS/FILE.")
    return folder.name, folder.parent


def content(found: Found) -> Content:
    """Return what a data set holds: as published, if it is known by name; else counted in its folder.

    Raises:
        DataError: it is neither known nor there, or its tree is not as it should be.
    """
    known = known_content(found.name)
    if known is not None:
        return known
    if found.path is None:
        raise DataError(
            f"data set {found.name!r}: {found.note}. Known are {', '.join(KNOWN)}; own images lie as "
            f"{found.name}/{{train,test}}/CLASS/FILE in a folder that --data-dir names, or --data is their path."
        )
    tree = tree_of(found.name, found.path)
    return Content(classes=len(tree.classes()), train_images=len(tree.files("train")))


def tree_of(name: str, path: Path) -> Tree:
    """Return the tree of class folders of an image folder."""
    return Tree(path, class_list(name), KNOWN[name].scored) if name in KNOWN else Tree(path)


def download(name: str, data_dir: Path) -> Found:
    """Fetch CIFAR-10 or CIFAR-100 into ``data_dir`` with torchvision, which shows its progress.

    Raises:
        DataError: there is nothing to download under that name, or it could not be fetched.
    """
    if name not in CIFAR_CLASSES:
        raise DataError(
            f"data set {name!r} cannot be downloaded, only {' and '.join(CIFAR_CLASSES)} can. "
            f"Put it into the data directory as {name}/{{train,test}}/CLASS/*.png, or as train and val and JPEGs, or "
            "name a folder of images by its path: --data PATH."
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
