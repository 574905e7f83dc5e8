"""The data sets known by name: what they hold, and how the published one is told from another of its name."""

from dataclasses import dataclass
from pathlib import Path

from bench.config.run import STAND_IN

OWN_PIXELS = 32  # side that own images are made unless a run says otherwise: what the CIFAR stem wants
CLASS_LISTS = Path(__file__).resolve().parent / "classes"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownData:
    """A data set as it was published.

    Attributes:
        title: its name for people.
        source: who made it.
        classes: how many.
        pixels: side of its square images; 0 where sizes vary.
        train_images: in the whole train split.
        test_images: in the whole test split.
        fingerprint: over all images and labels; empty where nobody has computed one.
        part: train and test images of the fixed part that subsets are drawn from, listed in ``splits/``; where there
            is none, subsets are drawn from the whole.
        has_class_list: whether its classes are those listed in ``classes/NAME.txt``, a choice from a larger tree.
        folders: its image folder's name in a data directory, the first that is there.
        scored: the scored split's folder, the first that is there.
        is_embedded: whether it needs no files.
    """

    title: str
    source: str
    classes: int
    pixels: int
    train_images: int
    test_images: int
    fingerprint: str = ""
    part: tuple[int, int] | None = None
    has_class_list: bool = False
    folders: tuple[str, ...] = ()
    scored: tuple[str, ...] = ("test", "val")
    is_embedded: bool = False


KNOWN: dict[str, KnownData] = {
    "cifar10": KnownData(
        title="CIFAR-10",
        source='A. Krizhevsky (2009), "Learning Multiple Layers of Features from Tiny Images"',
        classes=10,
        pixels=32,
        train_images=50_000,
        test_images=10_000,
        fingerprint="664a5bf99a641e99",
    ),
    "cifar100": KnownData(
        title="CIFAR-100",
        source='A. Krizhevsky (2009), "Learning Multiple Layers of Features from Tiny Images"',
        classes=100,
        pixels=32,
        train_images=50_000,
        test_images=10_000,
        part=(20_000, 5_000),
    ),
    "imagenet100": KnownData(
        title="ImageNet-100",
        source="J. Deng et al. (2009), ImageNet; the classes of Y. Tian et al. (2019), Contrastive Multiview Coding",
        classes=100,
        pixels=0,
        train_images=126_689,
        test_images=5_000,
        has_class_list=True,
        folders=("imagenet100", "imagenet"),
        scored=("val", "test"),  # the test folder of ImageNet has no classes
    ),
    STAND_IN: KnownData(
        title="the stand-in",
        source="E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits",
        classes=10,
        pixels=32,
        train_images=1_297,
        test_images=500,
        fingerprint="a7e03b2b89fc7209",
        is_embedded=True,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a data set holds, told without reading an image.

    Attributes:
        classes: how many.
        train_images: in the train split.
        pixels: side of its images; 0 where it is known by looking alone.
    """

    classes: int
    train_images: int
    pixels: int = 0


def known_content(name: str) -> Content | None:
    """Return what a data set that is known by name holds as published; None for others."""
    if name not in KNOWN:
        return None
    known = KNOWN[name]
    return Content(classes=known.classes, train_images=known.train_images, pixels=known.pixels)


def title_of(name: str) -> str:
    """Return a data set's name for people."""
    return KNOWN[name].title if name in KNOWN else name


def class_list(name: str) -> tuple[str, ...]:
    """Return the classes of a known data set that is a choice from a larger tree, alphabetical; else none."""
    if name not in KNOWN or not KNOWN[name].has_class_list:
        return ()
    lines = (CLASS_LISTS / f"{name}.txt").read_text(encoding="ascii").splitlines()
    return tuple(sorted(line for line in lines if line and not line.startswith("#")))
