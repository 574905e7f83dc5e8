"""Folders of images of any size and mode."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from bench.config.run import DataSpec
from bench.data import dataset as data_dataset
from bench.data import find, image_file, resized_folder
from bench.data.images import DataError
from bench.data.known import KNOWN, Content, class_list
from tests.images_on_disk import write_varied

SIDE = 24
SPEC = DataSpec(name="mine", train_images=0, image_size=SIDE)


def loaded(root: Path, spec: DataSpec = SPEC) -> data_dataset.Dataset:
    return data_dataset.load(spec, root, root / "cache")


def test_any_size_and_mode_becomes_torchvisions_resize_and_centre_crop(tmp_path: Path) -> None:
    root = write_varied(tmp_path / "mine")
    dataset = loaded(tmp_path)
    theirs = v2.Compose([v2.Resize(SIDE), v2.CenterCrop(SIDE), v2.PILToTensor()])
    expected = sorted(
        (theirs(Image.open(path).convert("RGB")).numpy().tobytes(), ("ant", "bee").index(path.parent.name))
        for path in (root / "train").rglob("*.*")
    )
    found = zip((image.numpy().tobytes() for image in dataset.train.images), dataset.train.labels.tolist(), strict=True)
    assert sorted(found) == expected


def test_conversions_are_said_once(tmp_path: Path) -> None:
    root = write_varied(tmp_path / "mine")
    assert loaded(tmp_path).remarks == (f"{root}: 7 grey and 7 CMYK images became RGB.",)


def test_names_of_files_change_nothing_and_their_bytes_do(tmp_path: Path) -> None:
    root = write_varied(tmp_path / "mine")
    first = loaded(tmp_path)
    path = root / "train/ant/000.png"
    path.rename(path.with_name("zzz.png"))
    renamed = loaded(tmp_path)
    assert renamed.fingerprint == first.fingerprint
    assert torch.equal(renamed.train.images, first.train.images)
    with path.with_name("zzz.png").open("ab") as stream:
        stream.write(b"\0")
    assert loaded(tmp_path).fingerprint != first.fingerprint


def test_an_interrupted_start_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_varied(tmp_path / "mine")
    monkeypatch.setattr(resized_folder, "_NOTED_EVERY", 5)
    whole = data_dataset.load(SPEC, tmp_path, tmp_path / "other")
    done: list[int] = []

    def interrupted(finished: int, _total: int) -> None:
        done.append(finished)
        if finished == 10:
            raise KeyboardInterrupt

    monkeypatch.setattr("bench.data.read.notice", lambda _name: interrupted)
    with pytest.raises(KeyboardInterrupt):
        loaded(tmp_path)
    opened: list[str] = []

    def counting(path: str) -> contextlib.AbstractContextManager[Image.Image]:
        opened.append(path)
        return image_file.opened(path)

    monkeypatch.setattr(resized_folder, "opened", counting)
    monkeypatch.setattr("bench.data.read.notice", lambda _name: lambda finished, _total: done.append(finished))
    again = loaded(tmp_path)
    assert done == [5, 10, 15, 20, 25, 28]
    assert len(opened) == 18
    assert torch.equal(again.train.images, whole.train.images)
    assert torch.equal(again.test.images, whole.test.images)
    assert (again.fingerprint, again.remarks) == (whole.fingerprint, whole.remarks)


def test_sizes_share_no_cache(tmp_path: Path) -> None:
    write_varied(tmp_path / "mine")
    small = loaded(tmp_path, DataSpec(name="mine", train_images=0, image_size=16))
    assert small.train.images.shape[1:] == (3, 16, 16)
    assert loaded(tmp_path).train.images.shape[1:] == (3, SIDE, SIDE)
    assert len([path for path in (tmp_path / "cache").glob("*/*") if path.is_dir()]) == 2


def test_a_path_names_a_data_set_and_its_content_is_counted(tmp_path: Path) -> None:
    root = write_varied(tmp_path / "mine")
    name, data_dir = find.place_of(str(root), Path("elsewhere"))
    assert (name, data_dir) == ("mine", tmp_path)
    assert find.content(find.find(name, data_dir)) == Content(classes=2, train_images=20)
    assert find.place_of("cifar10", tmp_path) == ("cifar10", tmp_path)
    with pytest.raises(DataError, match=r"no such folder\. It is to hold train/CLASS"):
        find.place_of(str(tmp_path / "nowhere"), tmp_path)


def test_the_scored_split_may_be_called_val(tmp_path: Path) -> None:
    root = write_varied(tmp_path / "mine")
    (root / "test").rename(root / "val")
    assert len(loaded(tmp_path).test.labels) == 8


def test_imagenet100_is_its_listed_classes_of_a_larger_tree(tmp_path: Path) -> None:
    listed = class_list("imagenet100")
    assert len(set(listed)) == 100 == KNOWN["imagenet100"].classes
    assert all(re.fullmatch(r"n\d{8}", name) for name in listed)
    pixels = np.random.default_rng(0).integers(0, 256, (202, 9, 9, 3), dtype=np.uint8)
    for index, name in enumerate([*listed, "n00000000"]):
        for split in range(2):
            path = tmp_path / "imagenet" / ("train", "val")[split] / name / "0.JPEG"
            path.parent.mkdir(parents=True)
            Image.fromarray(pixels[2 * index + split]).save(path)
    (tmp_path / "imagenet/test").mkdir()
    (tmp_path / "imagenet/test/unlabelled.JPEG").write_text("")
    dataset = loaded(tmp_path, DataSpec(name="imagenet100", train_images=0, image_size=8))
    assert dataset.classes == listed
    assert len(dataset.train.labels) == 100
    assert "NOT the full set: 100 train and 100 test" in dataset.source
    (tmp_path / "imagenet/train" / listed[3] / "0.JPEG").unlink()
    (tmp_path / "imagenet/train" / listed[3]).rmdir()
    with pytest.raises(DataError, match=f"1 of 100 classes are missing, the first is {listed[3]}"):
        loaded(tmp_path, DataSpec(name="imagenet100", train_images=0, image_size=8))
