"""Finding, verifying and loading data sets."""

import dataclasses
import os
import re
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

from bench.config.run import DataSpec
from bench.data import dataset as data_dataset
from bench.data import find, read, subsets
from bench.data.dataset import DataError
from bench.data.images import canonical, fingerprint
from bench.data.known import KNOWN
from bench.tables import TABLES
from tests.images_on_disk import packed, pixels_of, write_folder, write_official, write_split
from tests.table_sizes import SIZES, WITH_SMOKE

ALL = DataSpec(name="cifar10", train_images=0)
REAL = os.environ.get("SPARSE_SSL_DATA")


def publish(monkeypatch: pytest.MonkeyPatch, name: str, **facts: Any) -> None:
    """Make another content the published one."""
    monkeypatch.setitem(KNOWN, name, dataclasses.replace(KNOWN[name], **facts))


def loaded(root: Path, spec: DataSpec = ALL) -> data_dataset.Dataset:
    return data_dataset.load(spec, root, root.parent / "cache")


def test_official_files_and_an_image_folder_are_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "a" / "cifar10", suffix="webp")
    official_folder = write_official(tmp_path / "b", monkeypatch)
    folder, official = loaded(tmp_path / "a"), loaded(tmp_path / "b")
    packed(official_folder, monkeypatch)
    archive = loaded(tmp_path / "b")
    for other in (official, archive):
        assert other.fingerprint == folder.fingerprint
        assert other.classes == folder.classes == ("ant", "bee", "cat")
        for one, two in ((other.train, folder.train), (other.test, folder.test)):
            assert torch.equal(one.images, two.images)
            assert torch.equal(one.labels, two.labels)
    assert (folder.verified, official.verified, archive.verified) == (False, True, True)
    assert official.source == "official files, checksums verified"


def test_labels_follow_the_class_names_whatever_the_official_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.images_on_disk.CLASSES", ("cat", "ant", "bee"))
    write_official(tmp_path / "b", monkeypatch)
    write_folder(tmp_path / "a" / "cifar10")
    assert loaded(tmp_path / "a").fingerprint == loaded(tmp_path / "b").fingerprint


def test_official_files_come_before_an_image_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "cifar10")
    assert find.find("cifar10", tmp_path).kind == "folder"
    write_official(tmp_path, monkeypatch)
    assert find.find("cifar10", tmp_path).kind == "official"


def test_images_are_contiguous_bytes_and_labels_whole_numbers(tmp_path: Path) -> None:
    write_folder(tmp_path / "cifar10")
    split = loaded(tmp_path).train
    assert split.images.shape == (12, 3, 32, 32)
    assert split.images.dtype == torch.uint8
    assert split.images.is_contiguous()
    assert split.labels.dtype == torch.int64


def test_images_keep_their_label(tmp_path: Path) -> None:
    write_folder(tmp_path / "cifar10")
    split = loaded(tmp_path).train
    label_of = {image.tobytes(): index % 3 for index, image in enumerate(pixels_of(12, seed=1))}
    for image, label in zip(split.images, split.labels, strict=True):
        assert label_of[image.permute(1, 2, 0).contiguous().numpy().tobytes()] == label


def test_a_part_of_cifar100_is_not_taken_for_cifar100(tmp_path: Path) -> None:
    write_folder(tmp_path / "cifar100")
    found = loaded(tmp_path, DataSpec(name="cifar100", train_images=0))
    assert not found.verified
    assert "NOT the full set: 12 train and 6 test" in found.source


def test_an_image_folder_is_verified_by_its_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "cifar10")
    publish(monkeypatch, "cifar10", train_images=12, test_images=6)
    assert "NOT the published" in loaded(tmp_path).source
    publish(monkeypatch, "cifar10", fingerprint=loaded(tmp_path).fingerprint)
    assert loaded(tmp_path).verified
    image = pixels_of(12, seed=1)[0]
    image[5, 7, 1] ^= 1
    Image.fromarray(image).save(tmp_path / "cifar10/train/ant/0000.png")
    assert not loaded(tmp_path).verified
    publish(monkeypatch, "cifar100", train_images=12, test_images=6)
    (tmp_path / "cifar10").rename(tmp_path / "cifar100")
    assert "only the official files" in loaded(tmp_path, DataSpec(name="cifar100", train_images=0)).source


def test_subsets_are_the_first_and_validation_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subsets, "VALIDATION_IMAGES", 5)
    write_folder(tmp_path / "cifar10")
    everything = loaded(tmp_path).train.images
    assert len(everything) == 12
    first = loaded(tmp_path, DataSpec(name="cifar10", train_images=4))
    assert torch.equal(first.train.images, everything[:4])
    assert len(first.test.images) == 6
    for count, expected in ((4, 4), (7, 7), (0, 7)):
        spec = DataSpec(name="cifar10", train_images=count, evaluate_on="validation")
        chosen = loaded(tmp_path, spec)
        assert torch.equal(chosen.train.images, everything[:expected])
        assert torch.equal(chosen.test.images, everything[-5:])
    with pytest.raises(DataError, match="8 train images asked for; it has 12, of which the last 5"):
        loaded(tmp_path, DataSpec(name="cifar10", train_images=8, evaluate_on="validation"))
    with pytest.raises(DataError, match="13 train images asked for; it has 12"):
        loaded(tmp_path, DataSpec(name="cifar10", train_images=13))


def test_fingerprint_covers_the_selection_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subsets, "VALIDATION_IMAGES", 5)
    write_folder(tmp_path / "cifar10")
    specs = [
        DataSpec(name="cifar10", train_images=count, evaluate_on=on)
        for count in (3, 4)
        for on in ("test", "validation")
    ]
    assert len({loaded(tmp_path, spec).fingerprint for spec in specs}) == 4


def test_a_subset_other_than_its_index_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subsets, "SPLITS_DIR", tmp_path)
    write_folder(tmp_path / "cifar10")
    images = canonical(pixels_of(12, seed=1), np.arange(12) % 3)
    index = tmp_path / "cifar10-train-4.txt"
    lines = [f"{row[:8].tobytes().hex()}\n" for row in images.digests[:4]]
    index.write_text("".join(lines))
    spec = DataSpec(name="cifar10", train_images=4)
    loaded(tmp_path, spec)
    index.write_text("".join([*lines[:3], "0123456789abcdef\n"]))
    with pytest.raises(DataError, match=str(index)):
        loaded(tmp_path, spec)


@pytest.mark.parametrize("path", sorted(subsets.SPLITS_DIR.glob("*.txt")), ids=lambda path: path.stem)
def test_index_files_are_sorted(path: Path) -> None:
    listed = path.read_text().splitlines()
    assert len(listed) == int(path.stem.rpartition("-")[2])
    assert listed == sorted(listed)
    is_part = "-part-" in path.stem
    assert all(re.fullmatch(r"[0-9a-f]{16}" + (r" \d{1,2}" if is_part else ""), line) for line in listed)


@pytest.mark.parametrize("name", WITH_SMOKE)
@pytest.mark.parametrize("profile", ["smoke", "cpu"])
def test_every_subset_of_a_table_has_an_index_file(name: str, profile: str) -> None:
    wanted = {run.data.train_images for run in TABLES[name](profile, "cifar10").cells}
    assert all((subsets.SPLITS_DIR / f"cifar10-train-{count}.txt").exists() for count in wanted - {0})  # 0: all


def test_every_index_file_of_a_subset_is_of_a_table() -> None:
    sizes = [TABLES[name](profile, "cifar10") for name, profile in SIZES]
    used = {run.data.train_images for size in sizes for run in size.cells}
    there = {int(path.stem.rpartition("-")[2]) for path in subsets.SPLITS_DIR.glob("cifar10-train-*.txt")}
    assert there <= used


def test_train_and_validation_index_files_share_no_picture() -> None:
    train, validation = (
        set((subsets.SPLITS_DIR / f"cifar10-{name}.txt").read_text().splitlines())
        for name in ("train-12800", "validation-5000")
    )
    assert not train & validation


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_grey_and_palette_images_load_as_the_rgb_they_show(tmp_path: Path, mode: str) -> None:
    write_folder(tmp_path / "rgb" / "mine")
    write_folder(tmp_path / "other" / "mine")
    for path in (tmp_path / "other" / "mine").rglob("*.png"):
        flat = Image.open(path).convert(mode)
        flat.save(path)
        flat.convert("RGB").save(tmp_path / "rgb" / "mine" / path.relative_to(tmp_path / "other" / "mine"))
    spec = DataSpec(name="mine", train_images=0)
    assert loaded(tmp_path / "rgb", spec).fingerprint == loaded(tmp_path / "other", spec).fingerprint


def test_the_stand_in_needs_no_files_and_never_changes(tmp_path: Path) -> None:
    digits = data_dataset.load(DataSpec(name=data_dataset.STAND_IN, train_images=0), None, tmp_path / "cache")
    assert digits.fingerprint == "a7e03b2b89fc7209"
    assert (len(digits.train.labels), len(digits.test.labels)) == (1297, 500)
    assert digits.classes == tuple("0123456789")
    assert digits.verified
    assert not (tmp_path / "cache").exists()
    channels = digits.train.images.unbind(1)
    assert torch.equal(channels[0], channels[1])
    assert torch.equal(channels[0], channels[2])
    assert digits.train.labels.bincount().min() > 100  # every class is well represented


def test_find_tells_what_lies_where(tmp_path: Path) -> None:
    assert find.find("digits", None).kind == "stand-in"
    assert find.find("cifar10", None).kind == "missing"
    assert find.find("cifar10", tmp_path).kind == "missing"
    with pytest.raises(DataError, match="no such folder"):
        find.find("cifar10", tmp_path / "nowhere")
    for name in ("", "..", "a/b", "/etc"):
        with pytest.raises(DataError, match="data set"):
            find.find(name, tmp_path)


def test_survey_reads_all_and_says_what_is_wrong(tmp_path: Path) -> None:
    write_folder(tmp_path / "data" / "mine")
    broken = write_folder(tmp_path / "data" / "torn") / "train" / "bee" / "0001.png"
    broken.write_bytes(broken.read_bytes()[:100])
    found = {entry.name: entry for entry in read.survey(tmp_path / "data", tmp_path / "cache")}
    assert list(found) == ["cifar10", "cifar100", "imagenet100", "digits", "mine", "torn"]
    assert not found["cifar10"].is_usable
    assert found["digits"].verified
    assert found["mine"].is_usable, found["mine"].note
    assert not found["mine"].verified
    assert not found["torn"].is_usable
    assert str(broken) in found["torn"].note


def test_a_missing_data_set_tells_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"SPARSE_SSL_DATA, or fetch it: `python -m bench data --download cifar10`"):
        loaded(tmp_path)
    with pytest.raises(DataError, match=r"SPARSE_SSL_DATA\.$"):
        loaded(tmp_path, DataSpec(name="mine", train_images=0))


def test_download_without_a_network_tells_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(CIFAR10, "download", refuse)
    with pytest.raises(DataError, match=r"no route to host.*another machine.*SPARSE_SSL_DATA"):
        find.download("cifar10", tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())
    with pytest.raises(DataError, match="only cifar10 and cifar100 can"):
        find.download("mine", tmp_path)


def test_download_leaves_the_official_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_official(tmp_path / "elsewhere", monkeypatch)
    monkeypatch.setattr(
        CIFAR10, "download", lambda self: source.rename(Path(self.root) / source.name)
    )  # what the network would bring
    assert find.download("cifar10", tmp_path / "data").kind == "official"
    assert loaded(tmp_path / "data").verified
    assert [path.name for path in (tmp_path / "data").iterdir()] == [CIFAR10.base_folder]


@pytest.mark.skipif(REAL is None, reason="SPARSE_SSL_DATA names no data directory")
def test_the_real_cifar10_is_verified_and_its_subsets_are_the_listed_ones(tmp_path: Path) -> None:
    assert REAL is not None
    spec = DataSpec(name="cifar10", train_images=12_800, evaluate_on="validation")
    dataset = data_dataset.load(spec, Path(REAL), tmp_path)
    assert dataset.verified
    assert dataset.fingerprint == "3a42ae61263963e1"
    assert dataset.classes[0] == "airplane"


def test_equal_images_are_ordered_by_label(tmp_path: Path) -> None:
    image = pixels_of(1)
    write_split(tmp_path / "mine/train", np.concatenate([image] * 3), [2, 0, 1])
    write_split(tmp_path / "mine/test", pixels_of(3), [0, 1, 2])
    assert loaded(tmp_path, DataSpec(name="mine", train_images=0)).train.labels.tolist() == [0, 1, 2]


def test_fingerprint_tells_splits_apart() -> None:
    images = canonical(pixels_of(6), np.arange(6) % 3)
    one, two = (canonical(pixels_of(6)[rows], (np.arange(6) % 3)[rows]) for rows in (slice(None, 3), slice(3, None)))
    assert fingerprint(one, two) != fingerprint(two, one)
    assert fingerprint(images) != fingerprint(images, images)
