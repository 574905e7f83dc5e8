"""Broken data: the error names the file or folder, the rule and the way out."""

import os
import re
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.__main__ import main
from bench.config.run import DataSpec
from bench.data import dataset as data_dataset
from bench.data.dataset import DataError
from tests.images_on_disk import packed, pixels_of, write_folder, write_official

BAD = "mine/train/bee/0001"


def cut(root: Path, suffix: str) -> Path:
    path = root / f"{BAD}.{suffix}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def emptied(root: Path, suffix: str) -> Path:
    path = root / f"{BAD}.{suffix}"
    path.write_bytes(b"")
    return path


def garbled(root: Path, suffix: str) -> Path:
    path = root / f"{BAD}.{suffix}"
    path.write_bytes(np.random.default_rng(0).bytes(500))
    return path


def dangling(root: Path, suffix: str) -> Path:
    path = root / f"{BAD}.{suffix}"
    path.unlink()
    path.symlink_to(root / "nowhere")
    return path


def a_folder(root: Path, suffix: str) -> Path:
    path = root / f"{BAD}.{suffix}"
    path.unlink()
    path.mkdir()
    return path


def saved(root: Path, image: Image.Image) -> Path:
    path = root / f"{BAD}.png"
    image.save(path)
    return path


def large(root: Path) -> Path:
    return saved(root, Image.new("RGB", (64, 48)))


def see_through(root: Path) -> Path:
    return saved(root, Image.new("RGBA", (32, 32)))


def deep(root: Path) -> Path:
    return saved(root, Image.fromarray(np.zeros((32, 32), dtype=np.uint16)))


def see_through_palette(root: Path) -> Path:
    path = root / f"{BAD}.png"
    Image.fromarray(pixels_of(1)[0]).convert("P").save(path, transparency=0)
    return path


def animated(root: Path) -> Path:
    path = root / f"{BAD}.png"
    first, second = (Image.fromarray(pixels) for pixels in pixels_of(2))
    first.save(path, save_all=True, append_images=[second])
    return path


def bomb(root: Path, side: int) -> Path:
    """A picture that is small on disk and fills the memory when it is decoded: a header is enough."""
    path = saved(root, Image.new("1", (8, 8)))
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    return path


def vast(root: Path) -> Path:
    return bomb(root, 12_000)


def vaster(root: Path) -> Path:
    return bomb(root, 60_000)


def pipe(root: Path) -> Path:
    path = root / f"{BAD}.png"
    path.unlink()
    os.mkfifo(path)
    return path


def postscript(root: Path) -> Path:
    """Pillow would look for Ghostscript, and run it."""
    path = root / f"{BAD}.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n")
    return path


def gif(root: Path) -> Path:
    path = root / f"{BAD}.png"
    Image.fromarray(pixels_of(1)[0]).save(path, format="GIF")
    return path


def one_class(root: Path) -> Path:
    for split in ("train", "test"):
        for name in ("bee", "cat"):
            shutil.rmtree(root / "mine" / split / name)
    return root / "mine/train"


def no_test(root: Path) -> Path:
    shutil.rmtree(root / "mine/test")
    return root / "mine/test"


def no_train(root: Path) -> Path:
    shutil.rmtree(root / "mine/train")
    return root / "mine/train"


def empty_class(root: Path) -> Path:
    for path in (root / "mine/train/bee").iterdir():
        path.unlink()
    return root / "mine/train/bee"


def class_only_in_train(root: Path) -> Path:
    shutil.rmtree(root / "mine/test/bee")
    return root / "mine"


def stray_file(root: Path) -> Path:
    path = root / "mine/train/list.csv"
    path.write_text("")
    return path


def foreign_file(root: Path) -> Path:
    path = root / "mine/train/ant/image.bmp"
    path.write_text("")
    return path


def fails(root: Path, name: str) -> str:
    with pytest.raises(DataError) as caught:
        data_dataset.load(DataSpec(name=name, train_images=0), root, root / "cache")
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("fault", [cut, emptied, garbled, dangling, a_folder])
def test_an_unreadable_picture_is_named(tmp_path: Path, suffix: str, fault: Callable[[Path, str], Path]) -> None:
    write_folder(tmp_path / "mine", suffix=suffix)
    path = fault(tmp_path, suffix)
    message = fails(tmp_path, "mine")
    assert message.startswith(f"{path}: ")
    assert "or remove it." in message


def test_a_truncated_jpeg_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine", suffix="jpg")
    data_dataset.load(DataSpec(name="mine", train_images=0), tmp_path, tmp_path / "cache")
    path = cut(tmp_path, "jpg")
    assert fails(tmp_path, "mine").startswith(f"{path}: not a readable PNG, WebP or JPEG image")


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        (large, r"64x48 pixels, 32x32 are wanted\. .*the files stay as they are: --set data.image_size=32"),
        (see_through, r"mode RGBA\. .* without transparency.*another folder"),
        (deep, r"mode I;16\. .*another folder"),
        (see_through_palette, r"mode P with transparency\. .* without transparency.*another folder"),
        (animated, r"2 frames\. An image file holds one"),
        (vast, r"too large \(.*pixels\)\. At most 89,478,485 pixels .*smaller copy into another folder"),
        (vaster, r"too large \(.*\)\. At most 89,478,485 pixels .*smaller copy into another folder"),
        (pipe, r"not a regular file\. .*Restore it, or remove it"),
        (postscript, r"not a readable PNG, WebP or JPEG image"),
        (gif, r"not a readable PNG, WebP or JPEG image"),
        (one_class, r"1 class folder\(s\)\. At least 2 are needed\. Add one"),
        (no_test, r"no such folder\. An image folder has .*Make both"),
        (no_train, r"no such folder\. An image folder has .*Make both"),
        (empty_class, r"no image\. Every class needs .*Add some"),
        (class_only_in_train, r"class 'bee' is in only one of train/ and test/.*Add or remove"),
        (stray_file, r"a file where a class folder belongs\. Move it"),
        (foreign_file, r"not one of \.png, .*Move it out"),
    ],
)
def test_a_wrong_tree_or_picture_is_named_with_the_rule(
    tmp_path: Path, fault: Callable[[Path], Path], rule: str
) -> None:
    write_folder(tmp_path / "mine")
    path = fault(tmp_path)
    message = fails(tmp_path, "mine")
    assert message.startswith(f"{path}: ")
    assert re.search(rule, message), message


def test_scoring_on_train_images_is_refused_and_a_part_of_it_said(tmp_path: Path) -> None:
    """Found on a test split that equalled the train split: it passed without a word."""
    root = write_folder(tmp_path / "mine")
    for name in ("ant", "bee"):
        shutil.copytree(root / "train" / name, root / "test" / name, dirs_exist_ok=True)
    spec = DataSpec(name="mine", train_images=0)
    dataset = data_dataset.load(spec, tmp_path, tmp_path / "cache")
    assert dataset.remarks == ("mine: 8 of the 10 scored images are train images, too.",)
    shutil.rmtree(root / "test")
    shutil.copytree(root / "train", root / "test")
    assert re.match(r"data set 'mine': all 12 images to be scored on are train images", fails(tmp_path, "mine"))


def test_hidden_files_are_left_alone(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine")
    (tmp_path / "mine/train/.DS_Store").write_text("")
    (tmp_path / "mine/train/ant/.DS_Store").write_text("")
    dataset = data_dataset.load(DataSpec(name="mine", train_images=0), tmp_path, tmp_path / "cache")
    assert len(dataset.train.labels) == 12


@pytest.mark.parametrize("name", ["data_batch_1", "test_batch", "batches.meta"])
def test_a_damaged_official_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = write_official(tmp_path, monkeypatch) / name
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert re.match(rf"{path}: MD5 .*the published file has .*download it again", fails(tmp_path, "cifar10"))
    path.unlink()
    assert re.match(rf"{path}: cannot be read .*download them again", fails(tmp_path, "cifar10"))


def test_a_damaged_archive_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(write_official(tmp_path, monkeypatch), monkeypatch)
    path.write_bytes(path.read_bytes()[:-5])
    assert re.match(rf"{path}: MD5 .*download it again", fails(tmp_path, "cifar10"))


def test_nothing_is_unpickled_before_its_checksum_was_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_official(tmp_path, monkeypatch) / "batches.meta"
    path.write_bytes(f"cos\nmkdir\n(S'{tmp_path / 'pwned'}'\ntR.".encode())
    fails(tmp_path, "cifar10")
    assert not (tmp_path / "pwned").exists()


def test_the_command_line_names_the_broken_file_and_exits_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "cifar10")
    broken = tmp_path / "cifar10/train/bee/0001.png"
    broken.write_bytes(broken.read_bytes()[:60])
    command = ["bench", "table", "cifar10", "--data-dir", str(tmp_path), "--out", str(tmp_path / "o")]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setenv("COLUMNS", "500")
    assert main() == 2
    assert str(broken) in re.sub(r"\s+", "", "".join(capsys.readouterr()))
