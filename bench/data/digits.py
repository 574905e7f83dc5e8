"""The embedded stand-in: real handwritten digits from scikit-learn, for machines without CIFAR-10."""

import functools

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from bench.config.run import STAND_IN
from bench.data.images import Decoded, canonical
from bench.data.known import KNOWN

CLASSES = tuple("0123456789")
NOTE = "embedded handwritten digits"


@functools.cache
def stand_in() -> Decoded:
    """Return the digits as 32x32 RGB, grey in all three channels.

    The 8x8 images with levels 0 to 16 become bytes (level 16 is 255, rounded half up) and are enlarged four
    times with Pillow's bicubic filter, whose arithmetic is in whole numbers: the same bytes on every machine.
    Canonical order is a fixed shuffle, so the split by position is one at random that never changes.

    Source: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits (UCI), test part, as
    in ``sklearn.datasets.load_digits``. The enlargement and the split (the last 500 of 1,797 are scored on) are ours.
    """
    known, digits = KNOWN[STAND_IN], load_digits()
    size = known.pixels, known.pixels
    levels = np.floor(digits.images * (255 / 16) + 0.5).astype(np.uint8)
    grey = np.stack([np.asarray(Image.fromarray(level).resize(size, Image.Resampling.BICUBIC)) for level in levels])
    whole = canonical(np.repeat(grey[..., None], 3, axis=-1), digits.target.astype(np.int64))
    train, test = whole.rows(slice(known.train_images)), whole.rows(slice(known.train_images, None))
    return Decoded(CLASSES, train, test, verified=True, note=NOTE)
