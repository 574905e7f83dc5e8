"""Where a data set lies, and how a missing one is downloaded."""

import contextlib
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.config.run import STAND_IN
from bench.data.cifar import CIFAR_CLASSES
from bench.data.images import DataError

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
