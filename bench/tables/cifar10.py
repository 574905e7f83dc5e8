"""Sparse weights on CIFAR-10: what synchronized contrastive pruning is compared with, per framework."""

from bench.config import UNTRAINED, SparsitySpec
from bench.profiles import PROFILES
from bench.table import TableSpec

NAME = "cifar10"
DATA = "cifar10"

FRAMEWORKS = ("simclr", "byol")
DENSE = (UNTRAINED, "dense")
SPARSE = ("static_erk", "gradual", "synchronized")
REGRESSION_CELLS = (
    "simclr/untrained/*",
    "simclr/dense/*",
    "simclr/synchronized/element/d0.02*",
    "byol/static_erk/element/d0.02",
    "byol/gradual/element/d0.02",
    "byol/synchronized/element/d0.10*",
)


def table(profile: str, data: str) -> TableSpec:
    """Return the table at a profile's size, on CIFAR-10 or on the stand-in."""
    size = PROFILES[profile]
    points = [SparsitySpec(method=method) for method in DENSE]
    points += [
        SparsitySpec(
            method=method,
            granularity="element",
            density=density,
            gap=size.gap if method == "synchronized" else 0.0,
        )
        for density in size.densities
        for method in SPARSE
    ]
    return TableSpec(
        name=NAME,
        title="Sparse contrastive learning on CIFAR-10: accuracy at equal density",
        profile=profile,
        data=data,
        cells=tuple(size.run(framework, point, data) for framework in FRAMEWORKS for point in points),
    )
