"""The name of a cell, FRAMEWORK/METHOD/GRANULARITY/POINT: printed and parsed here alone."""

import re
from dataclasses import dataclass


def framework_of(cell: str) -> str:
    """Return the framework in a cell's name."""
    return cell.partition("/")[0]


_NAME = re.compile(r"[a-z0-9_]+/[a-z0-9_]+/[a-z0-9_:-]+/(d[01]\.\d\d(\+g[01]\.\d\d)?|t\d+\.\d\d)")


@dataclass(frozen=True, slots=True)
class CellName:
    """The four parts of a cell's name.

    Attributes:
        framework: a key of the frameworks.
        method: a key of the sparse methods, one complete configuration.
        granularity: which shapes may go; ``-`` where none may.
        point: ``d0.10`` (density), ``d0.10+g0.30`` (and the target's gap), ``t0.50`` (gates).
    """

    framework: str
    method: str
    granularity: str
    point: str

    def __str__(self) -> str:
        return f"{self.framework}/{self.method}/{self.granularity}/{self.point}"


def parse_cell(name: str) -> CellName:
    """Return the parts of ``FRAMEWORK/METHOD/GRANULARITY/POINT``.

    Raises:
        ValueError: the name has another form.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"cell {name!r}: a name reads FRAMEWORK/METHOD/GRANULARITY/POINT, "
            "e.g. byol/synchronized/element/d0.10+g0.30."
        )
    return CellName(*name.split("/"))
