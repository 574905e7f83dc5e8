"""What differs between two records, two tables, or two folders of results, as lines; all read as plain JSON.

Where, when and for how long something was made is no difference.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.errors import UsageError

Body = Mapping[str, Any]
_NOTHING = "nothing"
_LONGEST = 60  # characters of a value


def load(path: Path) -> Body:
    """Read a record or a table.

    Raises:
        UsageError: it is neither.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: no readable JSON ({error}). Name a run, a table's JSON file or a folder.") from error
    if not isinstance(body, dict) or not ({"run_id", "facts"} <= body.keys() or {"table", "rows"} <= body.keys()):
        raise UsageError(f"{path}: neither a run's record nor a table. Name one of them, or a folder of results.")
    return body


def between(a: Body, b: Body) -> list[str]:
    """Return what differs between two records or two tables; nothing for equal ones.

    Raises:
        UsageError: they are not of one kind.
    """
    kinds = [("a run", "a table")["rows" in body] for body in (a, b)]
    if kinds[0] != kinds[1]:
        raise UsageError(f"the first is {kinds[0]}, the second {kinds[1]}: only two of a kind can be compared.")
    return [*(_tables(a, b) if "rows" in a else _records(a, b))]


def _records(a: Body, b: Body) -> Iterator[str]:
    yield from _lines("setting", _leaves(a["run"]), _leaves(b["run"]))
    yield from _lines("number", _leaves(a["metrics"]), _leaves(b["metrics"]))
    yield from _lines("fact", _leaves(a["facts"]), _leaves(b["facts"]))


def _tables(a: Body, b: Body) -> Iterator[str]:
    names = ("table", "profile", "data", "tolerances")
    yield from _lines("setting", *(_leaves({name: body.get(name) for name in names}) for body in (a, b)))
    first, second = ({row["cell"]: row for row in body["rows"]} for body in (a, b))
    yield from _missing("cell", first, second)
    for cell in [cell for cell in first if cell in second]:
        yield from _lines(f"{cell}: verdict", *({"": _verdict(rows[cell])} for rows in (first, second)))
        yield from _lines(f"{cell}: number", *(_leaves(_means(rows[cell])) for rows in (first, second)))
        yield from _lines(f"{cell}: fact", *(_leaves(rows[cell]["facts"]) for rows in (first, second)))
    first, second = ({claim["name"]: claim for claim in body["claims"]} for body in (a, b))
    yield from _missing("claim", first, second)
    for name in [name for name in first if name in second]:
        yield from _lines(f"claim {name}: verdict", *({"": _verdict(claims[name])} for claims in (first, second)))


def _verdict(row: Body) -> str:
    return str(row["judgement"]["verdict"])


def _means(row: Body) -> dict[str, object]:
    """Return the means of a cell's new runs and of its references."""
    return {
        f"{metric}, {side}": sample["mean"] for side in ("new", "references") for metric, sample in row[side].items()
    }


def folders(a: Mapping[str, Body], b: Mapping[str, Body]) -> list[str]:
    """Return what differs between two collections of records and tables, each known by its name."""
    lines = [*_missing("", a, b)]
    for name in [name for name in a if name in b]:
        lines += [f"{name}: {line}" for line in between(a[name], b[name])]
    return lines


def _missing(what: str, a: Mapping[str, object], b: Mapping[str, object]) -> Iterator[str]:
    for name in a:
        if name not in b:
            yield f"{what} {name}: only in the first".strip()
    for name in b:
        if name not in a:
            yield f"{what} {name}: only in the second".strip()


def _lines(what: str, a: Mapping[str, object], b: Mapping[str, object]) -> Iterator[str]:
    """Yield a line per entry that differs; of numbers with their difference."""
    for name in {**a, **b}:
        old, new = a.get(name), b.get(name)
        if old == new:
            continue
        shift = f" ({new - old:+.4g})" if _is_number(old) and _is_number(new) else ""  # type: ignore[operator]
        yield f"{what} {name}".strip() + f": {_short(old)} -> {_short(new)}{shift}"


def _leaves(value: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return the leaves of nested mappings by their dotted paths; what is off or nothing is left out, as of old."""
    found: dict[str, object] = {}
    for key, entry in value.items():
        if isinstance(entry, Mapping):
            found |= _leaves(entry, f"{prefix}{key}.")
        elif entry is not None:
            found[f"{prefix}{key}"] = entry
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: object) -> str:
    if value is None:
        return _NOTHING
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
