"""Where decoded images are kept: with the user, so that all results share them."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.errors import UsageError

VARIABLE = "SPARSE_SSL_CACHE"


def cache_root(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder that the environment names, else the system's place for caches.

    Raises:
        UsageError: there is no such place.
    """
    if environment.get(VARIABLE):
        return Path(environment[VARIABLE]).absolute()
    if environment.get("XDG_CACHE_HOME"):
        return Path(environment["XDG_CACHE_HOME"], "sparse-ssl-bench").absolute()
    try:
        home = Path.home()
    except RuntimeError as error:
        raise UsageError(f"{VARIABLE} is not set, and there is no home folder. Set it to a folder of yours.") from error
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "sparse-ssl-bench"
