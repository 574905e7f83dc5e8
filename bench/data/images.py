"""Decoded images in canonical order, and what is wrong with data that cannot become them."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.errors import UserError

SIZE = 32  # pixels; the CIFAR stem of the encoders wants exactly this
MIN_CLASSES = 2

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


class DataError(UserError):
    """Unusable data. The message names the file or folder, what was found, the rule and the way out."""


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """The images of one split, in canonical order.

    Attributes:
        images: ``[N, 3, 32, 32]`` bytes.
        labels: ``[N]`` indices into the alphabetical class names.
        digests: ``[N, 32]`` bytes: the SHA-256 of each image's pixels, rows of RGB triples.
    """

    images: Bytes
    labels: Labels
    digests: Bytes


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A whole data set.

    Attributes:
        classes: their names, alphabetical.
        train: images to learn from.
        test: images to be scored on.
        verified: whether these are, bit for bit, the published images of the name.
        note: where they come from, and why not if not verified.
    """

    classes: tuple[str, ...]
    train: Images
    test: Images
    verified: bool
    note: str


def canonical(pixels: Bytes, labels: Labels) -> Images:
    """Return images sorted by the SHA-256 of their pixels, ties by label.

    So the order depends on neither file names nor the batches of an archive. Source: ours; published code
    takes the order of the files, which differs between copies of one data set.

    Args:
        pixels: ``[N, 32, 32, 3]`` bytes.
        labels: ``[N]``.
    """
    hashed = b"".join(hashlib.sha256(image.tobytes()).digest() for image in pixels)
    digests = np.frombuffer(hashed, dtype=np.uint8).reshape(-1, 32)
    words = digests.view(">u8")
    order = np.lexsort((labels, words[:, 3], words[:, 2], words[:, 1], words[:, 0]))
    images = np.ascontiguousarray(pixels[order].transpose(0, 3, 1, 2))
    return Images(images, labels[order].astype(np.int64), np.ascontiguousarray(digests[order]))


def fingerprint(*splits: Images) -> str:
    """Return 16 hex digits over the pixels and labels of the splits, in their order."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(f"{len(split.labels)}\0".encode())
        digest.update(split.digests.tobytes() + split.labels.astype("<i8").tobytes())
    return digest.hexdigest()[:16]
