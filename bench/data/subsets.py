"""Which images of a data set a run trains on, holds out and is scored on.

The validation split is the last 5,000 train images in canonical order, the train subset of n is the first n. So a
subset is the same whatever it is evaluated on. Where a data set has a fixed part, its subsets are the part's, test
images included: whoever has only the part makes the same runs as whoever has all. Index files in ``splits/`` say which
images these are: subsets are compared with them, and parts are drawn by them.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.config.run import DataSpec
from bench.data.images import DataError, Decoded, Images
from bench.data.known import KNOWN

VALIDATION_IMAGES = 5000
SPLITS_DIR = Path(__file__).resolve().parent / "splits"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Chosen:
    """The images of a run.

    Attributes:
        train: to learn from.
        held_out: of the train subset, not to be learnt from.
        scored: to be scored on.
        is_listed_part: whether the images were drawn from the data set's fixed part, each told by its listed hash.
    """

    train: Images
    held_out: Images
    scored: Images
    is_listed_part: bool = False


def choose(spec: DataSpec, read: Decoded) -> Chosen:
    """Return the images of a run.

    With ``evaluate_on="validation"``, what is trained on and what is scored must not overlap, and 0 train images mean
    all the rest; else 0 means all.

    Raises:
        DataError: there are too few, or they are not those of the index files.
    """
    part = KNOWN[spec.name].part if spec.name in KNOWN else None
    is_part = part is not None and 0 < spec.train_images <= part[0]
    train, scored = read.train, read.test
    if is_part:
        train, scored = (_listed(spec.name, split, images) for split, images in (("train", train), ("test", scored)))
    chosen, scored = _selected(spec, train, scored)
    kept = len(chosen.labels) - spec.held_out_images
    if not 0 < kept <= len(chosen.labels):
        raise DataError(
            f"data set {spec.name!r}: {spec.held_out_images:,} of {len(chosen.labels):,} train images are to be held "
            "out. Hold out fewer, or ask for more train images."
        )
    return Chosen(
        train=chosen.rows(slice(0, kept)),
        held_out=chosen.rows(slice(kept, None)),
        scored=scored,
        is_listed_part=is_part,
    )


def overlap(name: str, train: Images, held_out: Images, scored: Images) -> str:
    """Return, in words, how many scored images are learnt from, too; nothing where none is.

    Raises:
        DataError: all are, so that the scores would tell what was remembered.
    """
    known = {digest.tobytes() for images in (train, held_out) for digest in images.digests}
    twice = sum(digest.tobytes() in known for digest in scored.digests)
    if twice == len(scored.labels):
        raise DataError(
            f"data set {name!r}: all {twice:,} images to be scored on are train images, too: scores would tell what "
            "was remembered, not what was learnt. Put other images into the test split."
        )
    return f"{name}: {twice:,} of the {len(scored.labels):,} scored images are train images, too." if twice else ""


def index_text(images: Images) -> str:
    """Return the content of an index file: 16 hex digits of each image's SHA-256, a line each."""
    return "".join(f"{row[:8].tobytes().hex()}\n" for row in images.digests)


def part_text(images: Images) -> str:
    """Return the content of a part's index file: digits as in other index files, and the label.

    The label tells images apart that were published twice.
    """
    return "".join(f"{line}\n" for line in _lines(images))


def _lines(images: Images) -> list[str]:
    return [
        f"{row[:8].tobytes().hex()} {label}" for row, label in zip(images.digests, images.labels.tolist(), strict=True)
    ]


def part_path(name: str, split: str) -> Path:
    """Return the index file of a data set's fixed part."""
    part = KNOWN[name].part
    assert part is not None, name
    return SPLITS_DIR / f"{name}-part-{split}-{part[0] if split == 'train' else part[1]}.txt"


def _listed(name: str, split: str, images: Images) -> Images:
    """Return the images of the fixed part, in canonical order, out of the part or the whole."""
    path = part_path(name, split)
    wanted = Counter(path.read_text(encoding="ascii").splitlines())
    missing = wanted.total()
    rows = []
    for row, line in enumerate(_lines(images)):
        if wanted[line] > 0:  # as often as it is listed, and no more
            wanted[line] -= 1
            rows.append(row)
    missing -= len(rows)
    if missing:
        raise DataError(
            f"{path}: {missing:,} of its {missing + len(rows):,} images are not in the {split} split found for "
            f"{name!r}. Subsets are drawn from that list. Use the published data set, or give yours another name."
        )
    return images.rows(np.array(rows, dtype=np.intp))


def _selected(spec: DataSpec, train: Images, test: Images) -> tuple[Images, Images]:
    """Return the train subset and the split to evaluate on."""
    total = len(train.labels)
    on_validation = spec.evaluate_on == "validation"
    available = total - VALIDATION_IMAGES if on_validation else total
    if available < 1 or not 0 <= spec.train_images <= available:
        rest = f", of which the last {VALIDATION_IMAGES:,} are for validation" if on_validation else ""
        raise DataError(
            f"data set {spec.name!r}: {spec.train_images:,} train images asked for; it has {total:,}{rest}. "
            "Ask for fewer (0 means all), or evaluate on test."
        )
    subset = train.rows(slice(0, spec.train_images or available))
    _check_index(spec.name, "train", subset)
    if not on_validation:
        return subset, test
    validation = train.rows(slice(total - VALIDATION_IMAGES, total))
    _check_index(spec.name, "validation", validation)
    return subset, validation


def _check_index(name: str, split: str, images: Images) -> None:
    """Compare with the index file of that subset, where one is kept."""
    path = SPLITS_DIR / f"{name}-{split}-{len(images.labels)}.txt"
    if path.is_file() and path.read_text(encoding="ascii") != index_text(images):
        raise DataError(
            f"{path}: lists other images than the {split} subset found for {name!r}. References are made "
            "from that list. Use the published data set, or give yours another name."
        )
