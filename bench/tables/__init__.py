"""Each paper table as data."""

from collections.abc import Callable

from bench.table import TableSpec
from bench.tables import cifar10

TABLES: dict[str, Callable[[str, str], TableSpec]] = {
    cifar10.NAME: cifar10.table,
}
