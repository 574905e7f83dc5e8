"""Says how far a long reading of images is: seldom, on standard error, so that it is readable in any log."""

import sys
import time
from collections.abc import Callable

SECONDS = 10.0  # between two lines


def notice(name: str) -> Callable[[int, int], None]:
    """Return what prints, now and then, how many images of the data set ``name`` are done."""
    told_at = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= SECONDS:
            told_at = time.monotonic()
            sys.stderr.write(f"{name}: {done:,} of {total:,} images read and made small, once for all runs\n")

    return tell
