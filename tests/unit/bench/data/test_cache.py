"""The cache of decoded images."""

import errno
import fcntl
import json
import os
import resource
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.config.run import DataSpec
from bench.data import cache
from bench.data import dataset as data_dataset
from bench.data.cache_root import cache_root
from bench.data.image_folder import ImageFolder
from bench.data.images import DataError, Decoded
from tests.images_on_disk import pixels_of, write_folder

MINE = DataSpec(name="mine", train_images=0)


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Count how often an image folder is decoded."""
    counted: list[Path] = []
    decode = ImageFolder.decode

    def counting(self: ImageFolder, scratch: Path) -> Decoded:
        counted.append(self.tree.path)
        time.sleep(0.05)  # so that two at once would overlap
        return decode(self, scratch)

    monkeypatch.setattr(ImageFolder, "decode", counting)
    return counted


def loaded(tmp_path: Path) -> data_dataset.Dataset:
    return data_dataset.load(MINE, tmp_path, tmp_path / "cache")


def cached(tmp_path: Path) -> Path:
    (folder,) = (path for path in (tmp_path / "cache").glob("*/*") if path.is_dir())
    return folder


def test_a_second_load_decodes_nothing(tmp_path: Path, decodings: list[Path]) -> None:
    write_folder(tmp_path / "mine")
    first, second = loaded(tmp_path), loaded(tmp_path)
    assert len(decodings) == 1
    assert torch.equal(first.train.images, second.train.images)
    assert (first.fingerprint, first.source, first.classes) == (second.fingerprint, second.source, second.classes)


@pytest.mark.parametrize(
    "name",
    [
        "header.json",
        *(f"{split}-{kind}.npy" for split in ("train", "test") for kind in ("images", "labels", "digests")),
    ],
)
@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "empty"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, decodings: list[Path], name: str, damage: str) -> None:
    write_folder(tmp_path / "mine")
    before = loaded(tmp_path).fingerprint
    path = cached(tmp_path) / name
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-7])
    elif damage == "flip":
        content[-3] ^= 0x10
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    again = loaded(tmp_path)
    assert again.fingerprint == before
    assert torch.equal(again.train.images, loaded(tmp_path).train.images)
    assert len(decodings) == 2


def test_changed_data_is_decoded_anew(tmp_path: Path, decodings: list[Path]) -> None:
    path = write_folder(tmp_path / "mine") / "train/ant/0000.png"
    before = loaded(tmp_path).fingerprint
    Image.fromarray(pixels_of(1, seed=9)[0]).save(path)
    changed = loaded(tmp_path).fingerprint
    assert changed != before
    path.rename(path.parent.parent / "bee" / "9999.png")
    assert loaded(tmp_path).fingerprint not in (before, changed)
    assert len(decodings) == 3


def test_a_newer_file_of_the_same_size_is_decoded_anew(tmp_path: Path, decodings: list[Path]) -> None:
    path = write_folder(tmp_path / "mine") / "train/ant/0000.png"
    loaded(tmp_path)
    os.utime(path, ns=(1, 1))
    loaded(tmp_path)
    assert len(decodings) == 2


def test_many_at_once_decode_once_and_agree(tmp_path: Path, decodings: list[Path]) -> None:
    write_folder(tmp_path / "mine")
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(loaded(tmp_path).fingerprint)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decodings) == 1
    assert len(found) == 4
    assert len(set(found)) == 1


def test_writing_to_the_images_never_reaches_the_disk(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine")
    first = loaded(tmp_path)
    path = cached(tmp_path) / "train-images.npy"
    before = path.read_bytes()
    first.train.images.zero_()
    assert path.read_bytes() == before


def test_images_are_mapped_not_read(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine")
    dataset = loaded(tmp_path)
    if Path("/proc/self/maps").exists():
        assert str(cached(tmp_path) / "train-images.npy") in Path("/proc/self/maps").read_text()
    assert np.asarray(dataset.train.images).any()


def test_an_interrupted_decoding_leaves_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "mine")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loaded(tmp_path)
    assert not [path for path in (tmp_path / "cache").glob("*/*") if path.is_dir()]
    assert len(loaded(tmp_path).train.labels) == 12


def test_a_cache_that_cannot_be_written_names_the_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine")
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(
        DataError, match=r"cache/mine-.*: the cache of decoded images cannot be used .*Set SPARSE_SSL_CACHE"
    ):
        loaded(tmp_path)


@pytest.mark.parametrize("side", [0, 48])  # arrays written whole, and images written one by one to a mapped file
def test_a_full_disk_is_told_with_the_file_and_the_reason(tmp_path: Path, side: int) -> None:
    """Found on a full disk: "cannot be used (None)"; a mapped file would have ended the process without a word."""
    write_folder(tmp_path / "mine")
    spec = DataSpec(name="mine", train_images=0, image_size=side)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"-images.npy: the cache .* \(File too large\)\. Set SPARSE_SSL_CACHE to"):
            data_dataset.load(spec, tmp_path, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(data_dataset.load(spec, tmp_path, tmp_path / "cache").train.labels) == 12


def test_a_file_system_without_locks_is_told_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock made of a file would stay when its process is killed, and the next one wait for ever."""

    def missing(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", missing)
    write_folder(tmp_path / "mine")
    with pytest.raises(DataError, match=r"\(Function not implemented\)\. Set SPARSE_SSL_CACHE to a folder .* locked"):
        loaded(tmp_path)


def test_pixels_changed_behind_size_and_time_are_seen(tmp_path: Path, decodings: list[Path]) -> None:
    """Found on a file written in place whose time of change was put back: the cache served the old pixels."""
    path = write_folder(tmp_path / "mine", suffix="png") / "train/ant/0000.png"
    before, facts = loaded(tmp_path).fingerprint, path.stat()
    other = path.parent.parent / "bee" / "0001.png"
    image = Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image.save(path)
    path.write_bytes(path.read_bytes()[: facts.st_size].ljust(facts.st_size, b"\0"))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert loaded(tmp_path).fingerprint != before
    other.with_suffix(".tmp").write_bytes(other.read_bytes())  # another file of equal bytes, times and name
    os.utime(other.with_suffix(".tmp"), ns=(other.stat().st_atime_ns, other.stat().st_mtime_ns))
    other.with_suffix(".tmp").rename(other)
    loaded(tmp_path)
    assert len(decodings) == 3


def test_the_cache_of_other_images_under_this_name_is_not_believed(tmp_path: Path, decodings: list[Path]) -> None:
    """Found by a review: a folder's cache vouched for itself, wherever it was copied to."""
    write_folder(tmp_path / "mine")
    loaded(tmp_path)
    copied = shutil.copytree(cached(tmp_path), tmp_path / "copied")
    Image.fromarray(pixels_of(1, seed=9)[0]).save(tmp_path / "mine/train/ant/0000.png")
    changed, place = loaded(tmp_path).fingerprint, cached(tmp_path)
    shutil.rmtree(place)
    shutil.copytree(copied, place)
    assert loaded(tmp_path).fingerprint == changed
    assert len(decodings) == 3


@pytest.mark.parametrize("slip", ["no sums", "one sum less", "other labels", "no seal"])
def test_a_forged_header_is_not_believed(tmp_path: Path, decodings: list[Path], slip: str) -> None:
    """Found on a header with an empty table of sums: edited labels passed."""
    write_folder(tmp_path / "mine")
    before = loaded(tmp_path).train.labels.clone()
    path = cached(tmp_path) / "header.json"
    body = json.loads(path.read_text())
    labels = np.load(cached(tmp_path) / "train-labels.npy")
    np.save(cached(tmp_path) / "train-labels.npy", labels[::-1])
    if slip == "no sums":
        body["header"]["arrays"] = {}
    elif slip == "one sum less":
        del body["header"]["arrays"]["train-labels.npy"]
    elif slip == "no seal":
        del body["sha256"]
    path.write_text(json.dumps(body))
    assert torch.equal(loaded(tmp_path).train.labels, before)
    assert len(decodings) == 2


def test_what_killed_processes_and_former_data_left_goes(tmp_path: Path) -> None:
    """Found after kills while decoding: 180 MB stayed each time."""
    path = write_folder(tmp_path / "mine") / "train/ant/0000.png"
    loaded(tmp_path)
    place = cached(tmp_path).parent
    (place / "0123456789abcdef.partial").mkdir()
    (place / "0123456789abcdef.partial/train-images.npy").write_bytes(b"half")
    os.utime(path, ns=(1, 1))
    loaded(tmp_path)
    assert len([entry for entry in place.iterdir() if entry.name != "lock"]) == 1


def test_the_cache_is_the_users_and_can_be_named() -> None:
    assert cache_root({"SPARSE_SSL_CACHE": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert cache_root({"XDG_CACHE_HOME": "/b"}) == Path("/b/sparse-ssl-bench")
    assert cache_root({}).is_relative_to(Path.home())


def test_a_large_array_is_told_by_its_facts(
    tmp_path: Path, decodings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SUMMED_BYTES", 100)
    write_folder(tmp_path / "mine")
    loaded(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_checksum", lambda path: {}[path])
        assert len(loaded(tmp_path).train.labels) == 12
    assert len(decodings) == 1
    os.utime(cached(tmp_path) / "train-images.npy", ns=(1, 1))
    loaded(tmp_path)
    assert len(decodings) == 2
