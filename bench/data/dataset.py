"""What a run sees of a data set: subsets, splits, fingerprint."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.config.run import STAND_IN, DataSpec
from bench.data import subsets
from bench.data.cifar import CIFAR_CLASSES
from bench.data.find import Found, download, find
from bench.data.images import DataError, Images, fingerprint
from bench.data.read import decoded, survey

__all__ = ["STAND_IN", "DataError", "Dataset", "Found", "Split", "download", "find", "load", "survey"]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Images as tensors.

    Attributes:
        images: uint8 ``[N, 3, S, S]``, contiguous.
        labels: int64 ``[N]``.
        crop_size: side of what is seen of each image; 0: all.
    """

    images: Tensor
    labels: Tensor
    crop_size: int = 0

    @property
    def size(self) -> int:
        """Side of what is seen of each image, in pixels."""
        return self.crop_size or self.images.shape[-1]

    @property
    def seen(self) -> Tensor:
        """The centre squares that are seen where nothing is random, ``[N, 3, size, size]``: parts, not copies."""
        start = round((self.images.shape[-1] - self.size) / 2)  # as torchvision's centre_crop
        return self.images[..., start : start + self.size, start : start + self.size]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Dataset:
    """What a run sees.

    Attributes:
        name: as in the ``DataSpec``.
        classes: alphabetical; labels index them.
        train: the selected train images, in canonical order.
        test: the split evaluated on, be it test or validation.
        held_out: images of the train split that are not trained on.
        fingerprint: 16 hex digits over the selected images and labels of all splits.
        source: where they came from, in words.
        verified: whether they are, bit for bit, published ones of the name.
        remarks: what a user should hear once, e.g. that test images are train images, too.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    held_out: Split
    fingerprint: str
    source: str
    verified: bool
    remarks: tuple[str, ...] = ()


def load(spec: DataSpec, data_dir: Path | None, cache_dir: Path) -> Dataset:
    """Return the images that a run sees; ``subsets`` has the rules.

    Args:
        spec: which images.
        data_dir: the folder that holds data sets; the stand-in needs none.
        cache_dir: for decoded images; made if it does not exist.

    Raises:
        DataError: the data is missing, damaged, too small, not the data the index files were made from, or it is
            scored on its own train images.
    """
    found = find(spec.name, data_dir)
    if found.kind == "missing":
        fetch = f", or fetch it: `python -m bench data --download {spec.name}`" if spec.name in CIFAR_CLASSES else ""
        raise DataError(
            f"data set {spec.name!r}: {found.note}. It is looked for as an image folder "
            f"{spec.name}/{{train,test}}/CLASS/*.png, CIFAR also as official files. Name the folder that holds it "
            f"with --data-dir or SPARSE_SSL_DATA{fetch}."
        )
    read = decoded(found, cache_dir, image_size=spec.image_size)
    chosen = subsets.choose(spec, read)
    overlap = subsets.overlap(spec.name, chosen.train, chosen.held_out, chosen.scored)
    return Dataset(
        name=spec.name,
        classes=read.classes,
        train=_tensors(chosen.train, spec),
        test=_tensors(chosen.scored, spec),
        held_out=_tensors(chosen.held_out, spec),
        fingerprint=fingerprint(chosen.train, *([chosen.held_out] if spec.held_out_images else []), chosen.scored),
        source=f"fixed part, image by image, out of: {read.note}" if chosen.is_listed_part else read.note,
        verified=read.verified or chosen.is_listed_part,
        remarks=(*read.remarks, *([overlap] if overlap else [])),
    )


def _tensors(images: Images, spec: DataSpec) -> Split:
    side = images.images.shape[-1]
    if spec.crop_size > side:
        raise DataError(
            f"data set {spec.name!r}: crops of {spec.crop_size} pixels are asked for, its images have {side}. Set a "
            "larger data.image_size, or a smaller data.crop_size."
        )
    return Split(torch.from_numpy(images.images), torch.from_numpy(images.labels), spec.crop_size)
