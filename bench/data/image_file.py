"""One image file: opened safely, as RGB, or refused by name."""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from PIL import Image

from bench.data.images import DataError
from bench.data.tree import RESTORE

FORMATS = ("PNG", "WEBP", "JPEG")  # Pillow opens many more, some of them by starting other programs
LOSSLESS_MODES = ("RGB", "P", "L", "1")  # a palette or grey levels become RGB without loss
CONVERTED_MODES = {"L": "grey", "1": "black and white", "CMYK": "CMYK"}  # said once: nobody may expect it
MOST_PIXELS = Image.MAX_IMAGE_PIXELS or 2**26  # Pillow's own limit, a quarter of a GiB decoded
_AT_ONCE = 1024
_TOO_LARGE = (
    f"{{path}}: too large ({{pixels}}). At most {MOST_PIXELS:,} pixels are decoded. Put a smaller copy into another "
    "folder and name that, or remove it."
)

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """Open one image; its pixels are not decoded yet.

    Raises:
        DataError: also where the caller's decoding fails: the file is damaged, of another format, animated, of a
            mode that does not become RGB without a choice, or so large that decoding could fill the memory.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            _refuse_bomb(path, image.width * image.height)
            frames = getattr(image, "n_frames", 1)
            if frames != 1:
                raise DataError(f"{path}: {frames} frames. An image file holds one. Keep one frame, or remove it.")
            if image.mode not in (*LOSSLESS_MODES, "CMYK") or "transparency" in image.info:
                raise DataError(
                    f"{path}: mode {image.mode}{' with transparency' if 'transparency' in image.info else ''}. Images "
                    "are RGB, palette, grey or CMYK of 8 bits, without transparency, whose background nobody knows. "
                    "Put a converted copy into another folder and name that."
                )
            yield image
    except Image.DecompressionBombError as error:  # twice as large again
        raise DataError(_TOO_LARGE.format(path=path, pixels=error)) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow's decoders raise
        raise DataError(
            f"{path}: not a readable PNG, WebP or JPEG image ({error}; {_size(path)}). {RESTORE}"
        ) from error


def _refuse_bomb(path: str | Path, pixels: int) -> None:
    if pixels > MOST_PIXELS:
        raise DataError(_TOO_LARGE.format(path=path, pixels=f"{pixels:,} pixels"))


def in_order(work: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> Iterable[ResultT]:
    """Yield the results of ``work`` in order, made by a thread per core: decoders let go of the GIL."""
    with warnings.catch_warnings(), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ``opened`` refuses these files
        for start in range(0, len(items), _AT_ONCE):
            yield from pool.map(work, items[start : start + _AT_ONCE])


def conversions(modes: Iterable[str]) -> str:
    """Return what was converted, in words, e.g. ``3 grey and 1 CMYK images became RGB``; empty where nothing was."""
    counts = dict.fromkeys(CONVERTED_MODES, 0)
    for mode in modes:
        if mode in counts:
            counts[mode] += 1
    told = [f"{count:,} {CONVERTED_MODES[mode]}" for mode, count in counts.items() if count]
    return f"{' and '.join(told)} images became RGB" if told else ""


def _size(path: str | Path) -> str:
    return f"{Path(path).stat().st_size:,} bytes" if Path(path).is_file() else "no file"
