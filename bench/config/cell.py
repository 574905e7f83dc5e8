"""The name of a cell, FRAMEWORK/METHOD/GRANULARITY/POINT: printed and parsed here alone."""

import dataclasses
import re
from dataclasses import dataclass
from decimal import Decimal

from bench.errors import RunError

FORM = "FRAMEWORK/METHOD/GRANULARITY/POINT"
_EXAMPLE = "byol/synchronized/element/d0.10+g0.30"
_WORD = re.compile(r"[a-z0-9_]+")
_SHAPES = re.compile(r"[a-z0-9_:-]+")
_NUMBER = r"\d+\.\d+"
_POINT = re.compile(rf"d(?P<density>{_NUMBER})((?P<sign>[+-])g(?P<gap>{_NUMBER}))?|t(?P<reduction>{_NUMBER})")


def framework_of(cell: str) -> str:
    """Return the framework in a cell's name."""
    return cell.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """How sparse a cell is: ``d0.10`` (density), ``d0.10+g0.30`` (and the target's gap), ``t2.25`` (gates).

    A target that is sparser than the online encoder has a negative gap: ``d1.00-g0.90``.

    Numbers have two decimals, or as many more as they need: ``d0.125``.

    Attributes:
        density: fraction of the prunable weights kept.
        gap: density of the target's mask minus that of the online mask.
        reduction: dense MACs over gated MACs; 0 where nothing is gated.
    """

    density: float = 1.0
    gap: float = 0.0
    reduction: float = 0.0

    def __str__(self) -> str:
        if self.reduction:
            return f"t{_fixed(self.reduction)}"
        gap = f"{'-' if self.gap < 0 else '+'}g{_fixed(abs(self.gap))}" if self.gap else ""
        return f"d{_fixed(self.density)}{gap}"


def parse_point(text: str) -> Point:
    """Return the point that ``text`` names.

    Raises:
        RunError: it has another form, or names a point by another text than its own (``d0.1``).
    """
    found = _POINT.fullmatch(text)
    if found is None:
        raise RunError(
            f"point {text!r}: it reads d0.10 (density), d0.10+g0.30 (and the target's gap) or t2.25 (gates)."
        )
    sign = -1.0 if found["sign"] == "-" else 1.0
    numbers = {name: float(number) for name, number in found.groupdict().items() if number and name != "sign"}
    point = Point(**(numbers | ({"gap": sign * numbers["gap"]} if "gap" in numbers else {})))
    if str(point) != text:
        raise RunError(f"point {text!r}: its name is {point}. Numbers have two decimals, or more where they need more.")
    return point


@dataclass(frozen=True, slots=True)
class CellName:
    """The four parts of a cell's name.

    Attributes:
        framework: a key of the frameworks.
        method: a key of the sparse methods, one complete configuration.
        granularity: which shapes may go; ``-`` where none may.
        point: as ``Point`` prints it.
    """

    framework: str
    method: str
    granularity: str
    point: str

    def __str__(self) -> str:
        return "/".join(dataclasses.astuple(self))


def parse_cell(name: str) -> CellName:
    """Return the parts of ``FRAMEWORK/METHOD/GRANULARITY/POINT``.

    Raises:
        RunError: the name has another form; the message says which part is wrong.
    """
    parts = name.split("/")
    if len(parts) != 4:
        raise RunError(f"cell {name!r}: it has {len(parts)} parts; a name reads {FORM}, e.g. {_EXAMPLE}.")
    cell = CellName(*parts)
    for what, part, form in (
        ("framework", cell.framework, _WORD),
        ("method", cell.method, _WORD),
        ("granularity", cell.granularity, _SHAPES),
    ):
        if form.fullmatch(part) is None:
            raise RunError(
                f"cell {name!r}: {what} {part!r} is no {what}'s name; a name reads {FORM}, in small letters, "
                f"e.g. {_EXAMPLE}."
            )
    try:
        parse_point(cell.point)
    except RunError as error:
        raise RunError(f"cell {name!r}: {error} A name reads {FORM}, e.g. {_EXAMPLE}.") from None
    return cell


def _fixed(value: float) -> str:
    """Return a number with two decimals, or with all that it has; never with an exponent."""
    text = f"{value:.2f}"
    return text if float(text) == value else format(Decimal(repr(value)), "f")
