"""What processes are born with: environment variables that are set while they start, and taken back."""

import contextlib
import os
from collections.abc import Iterator, Mapping

# Read when the numeric libraries are imported, so a worker must be born with them.
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    ),
    "1",
)


@contextlib.contextmanager
def born_with(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that start meanwhile; this one keeps none of them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
