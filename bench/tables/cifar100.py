"""Sparse weights on CIFAR-100: the headline rows of the CIFAR-10 table, on ten times as many classes."""

from bench.config.run import STAND_IN
from bench.tables.cifar10 import ALLOCATED, FRAMEWORKS, SPARSE, STAND_IN_ROWS, laid_out, rows_of
from bench.tables.spec import TableSpec

NAME = "cifar100"
DATA = "cifar100"

# A shared encoder with every kind of method, and an EMA target with a mask that never moves beside the table's method.
SMOKE_SPARSE = {
    "simclr": ("static_erk", "rigl", "gradual", "gradual_erk", "granet", "synchronized", "synchronized_erk"),
    "moco": ("static_erk", "synchronized", "synchronized_erk"),
}
REGRESSION_CELLS = (
    "simclr/synchronized/element/*",
    "simclr/rigl/*",
    "simclr/granet/*",
    "moco/static_erk/*",
    "supervised/gradual/*",
)


def table(profile: str, data: str) -> TableSpec:
    """Return the table at a profile's size on CIFAR-100 or, with fewer rows, on the stand-in."""
    rows = (
        STAND_IN_ROWS
        if data == STAND_IN
        else rows_of(profile, SMOKE_SPARSE, dict.fromkeys(FRAMEWORKS, (*SPARSE, *ALLOCATED)))
    )
    return laid_out(NAME, DATA, profile, data, rows)
