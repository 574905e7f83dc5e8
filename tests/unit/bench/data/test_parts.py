"""A fixed part of a data set and the whole give the same runs, bit for bit."""

import dataclasses
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR100

from bench.config.run import DataSpec
from bench.data import dataset as data_dataset
from bench.data import find, read, subsets
from bench.data.dataset import DataError
from bench.data.known import KNOWN
from tests.images_on_disk import Pixels, pixels_of

CLASSES = ("ant", "bee", "cat")
TRAIN, TEST = 20, 8  # images of the part; the whole has 50 and 20


def made_up(count: int, seed: int) -> tuple[Pixels, list[int]]:
    """Return images of which two pairs are equal, one of them with the same label."""
    pixels = pixels_of(count, seed)
    pixels[count - 1], pixels[1] = pixels[0], pixels[4]
    return pixels, [index % 3 for index in range(count)]


def write_part(root: Path) -> None:
    """Write the part as an image folder: of images that the whole has twice, one."""
    for split, count, part in (("train", 50, TRAIN), ("test", 20, TEST)):
        pixels, labels = made_up(count, seed=len(split))
        for index in (*(1, 2, 3), *range(5, part + 1), count - 1):
            path = root / "cifar100" / split / CLASSES[labels[index]] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[index]).save(path)


def write_whole(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the whole in the official pickle format, in another order, and make torchvision expect it."""
    folder = root / str(CIFAR100.base_folder)
    folder.mkdir(parents=True)
    sums = {}
    for split, count in (("train", 50), ("test", 20)):
        pixels, labels = made_up(count, seed=len(split))
        order = np.random.default_rng(3).permutation(count)
        body = {
            "data": pixels[order].transpose(0, 3, 1, 2).reshape(count, -1),
            "fine_labels": [labels[index] for index in order],
        }
        (folder / split).write_bytes(pickle.dumps(body))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": list(CLASSES)}))
    for path in folder.iterdir():
        sums[path.name] = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", CIFAR100.meta | {"md5": sums["meta"]})


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return the data directories of the part and of the whole; the part is listed in index files."""
    write_part(tmp_path / "part")
    write_whole(tmp_path / "whole", monkeypatch)
    monkeypatch.setitem(KNOWN, "cifar100", dataclasses.replace(KNOWN["cifar100"], part=(TRAIN, TEST)))
    monkeypatch.setattr(subsets, "SPLITS_DIR", tmp_path / "splits")
    monkeypatch.setattr(subsets, "VALIDATION_IMAGES", 6)
    (tmp_path / "splits").mkdir()
    part = read.decoded(find.find("cifar100", tmp_path / "part"), tmp_path / "cache")
    for split, images in (("train", part.train), ("test", part.test)):
        subsets.part_path("cifar100", split).write_text(subsets.part_text(images))
    return tmp_path / "part", tmp_path / "whole"


@pytest.mark.parametrize(
    "spec",
    [
        DataSpec(name="cifar100", train_images=7),
        DataSpec(name="cifar100", train_images=TRAIN, held_out_images=5),
        DataSpec(name="cifar100", train_images=9, evaluate_on="validation"),
    ],
)
def test_part_and_whole_are_the_same_run_bit_for_bit(both: tuple[Path, Path], tmp_path: Path, spec: DataSpec) -> None:
    part, whole = (data_dataset.load(spec, root, tmp_path / "cache") for root in both)
    assert part.fingerprint == whole.fingerprint
    for one, two in ((part.train, whole.train), (part.test, whole.test), (part.held_out, whole.held_out)):
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.labels, two.labels)
    assert part.verified
    assert whole.verified
    assert len(part.test.labels) == (6 if spec.evaluate_on == "validation" else TEST)


def test_all_images_means_all_that_are_there(both: tuple[Path, Path], tmp_path: Path) -> None:
    spec = DataSpec(name="cifar100", train_images=0)
    part, whole = (data_dataset.load(spec, root, tmp_path / "cache") for root in both)
    assert (len(part.train.labels), len(whole.train.labels)) == (TRAIN, 50)
    assert not part.verified


def test_other_images_under_the_name_are_refused(both: tuple[Path, Path], tmp_path: Path) -> None:
    path = next((both[0] / "cifar100/train/ant").iterdir())
    Image.fromarray(pixels_of(1, seed=99)[0]).save(path)
    with pytest.raises(DataError, match=r"part-train-20\.txt: 1 of its 20 images are not in the train split"):
        data_dataset.load(DataSpec(name="cifar100", train_images=7), both[0], tmp_path / "cache")
