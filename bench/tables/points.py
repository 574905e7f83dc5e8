"""Points of sparse weights that tables are made of."""

from collections.abc import Iterable

from bench.config.profiles import Profile
from bench.config.run import UNTRAINED
from bench.config.sparsity import SparsitySpec

DENSE = (UNTRAINED, "dense")


def dense_points() -> list[SparsitySpec]:
    """Return the rows that every table begins with: an untrained encoder, and a dense one."""
    return [SparsitySpec(method=method) for method in DENSE]


def sparse_points(size: Profile, methods: Iterable[str], granularity: str, density: float) -> list[SparsitySpec]:
    """Return every method at one density; ``synchronized`` with each of the profile's gaps."""
    return [
        SparsitySpec(method=method, granularity=granularity, density=density, gap=gap)
        for method in methods
        for gap in (size.gaps if method.startswith("synchronized") else (0.0,))
    ]


def shaped_points(size: Profile, rows: Iterable[tuple[str, str]], density: float) -> list[SparsitySpec]:
    """Return every (granularity, method) pair at one density; ``synchronized`` with the profile's gap alone.

    With an N:M pattern, the gap is the fraction of the target's groups that are dense. The target of
    ``momentum_pruning`` is dense.
    """
    gaps = {"synchronized": size.gap, "momentum_pruning": 1.0 - density}
    return [
        SparsitySpec(
            method=method,
            granularity=granularity,
            density=density,
            gap=gaps.get(method, 0.0),
        )
        for granularity, method in rows
    ]
