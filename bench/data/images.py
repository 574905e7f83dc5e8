"""Decoded images in canonical order, and what is wrong with data that cannot become them."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.errors import UserError

MIN_CLASSES = 2

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Order = npt.NDArray[np.intp]


class DataError(UserError):
    """Unusable data. The message names the file or folder, what was found, the rule and the way out."""


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """The images of one split, in canonical order.

    Attributes:
        images: ``[N, 3, S, S]`` bytes.
        labels: ``[N]`` indices into the alphabetical class names.
        digests: ``[N, 32]`` bytes: the SHA-256 of each image's pixels, rows of RGB triples; of an image that was
            resized, of its file.
    """

    images: Bytes
    labels: Labels
    digests: Bytes

    def rows(self, chosen: slice | Order) -> "Images":
        """Return some of the images, in the order asked for."""
        return Images(self.images[chosen], self.labels[chosen], self.digests[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A whole data set.

    Attributes:
        classes: their names, alphabetical.
        train: images to learn from.
        test: images to be scored on.
        verified: whether these are, bit for bit, the published images of the name.
        note: where they come from, and why not if not verified.
        remarks: what a user should hear once, e.g. that grey images became RGB.
    """

    classes: tuple[str, ...]
    train: Images
    test: Images
    verified: bool
    note: str
    remarks: tuple[str, ...] = ()


def canonical(pixels: Bytes, labels: Labels) -> Images:
    """Return images sorted by the SHA-256 of their pixels, ties by label.

    So the order depends on neither file names nor the batches of an archive. Source: ours; published code
    takes the order of the files, which differs between copies of one data set.

    Args:
        pixels: ``[N, S, S, 3]`` bytes.
        labels: ``[N]``.
    """
    digests = joined([hashlib.sha256(image.tobytes()).digest() for image in pixels])
    order = canonical_order(digests, labels)
    images = np.ascontiguousarray(pixels[order].transpose(0, 3, 1, 2))
    return Images(images, labels[order].astype(np.int64), np.ascontiguousarray(digests[order]))


def joined(digests: list[bytes]) -> Bytes:
    """Return SHA-256 digests as an array ``[N, 32]``."""
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32)


def canonical_order(digests: Bytes, labels: Labels) -> Order:
    """Return the rows sorted by digest, ties by label."""
    words = digests.view(">u8")
    return np.lexsort((labels, words[:, 3], words[:, 2], words[:, 1], words[:, 0]))


def fingerprint(*splits: Images) -> str:
    """Return 16 hex digits over the pixels and labels of the splits, in their order."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(f"{len(split.labels)}\0".encode())
        digest.update(split.digests.tobytes() + split.labels.astype("<i8").tobytes())
    return digest.hexdigest()[:16]
