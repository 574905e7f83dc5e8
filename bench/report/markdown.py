"""The report as Markdown: the form that is kept and compared as text."""

from collections.abc import Iterable

from bench.report.grid import ALWAYS_WIDE, Grid
from bench.report.page import Page


def markdown(page: Page) -> str:
    """Return the report; the same page always gives the same text."""
    warning = f"**!!! {escaped(page.banner)}**" if page.banner else ""
    blocks = [
        f"# {escaped(page.title)}",
        escaped(page.lead),
        warning,
        "\n".join(f"- {name}: {escaped(value)}" for name, value in page.heading),
        f"## {page.results.title}",
        _grid(page.results, warning),
        "\n".join(f"- {escaped(line)}" for line in page.alarms),
        _listed(page.reasons),
        f"## {page.claims.title}",
        _grid(page.claims, ""),
        _listed(page.claim_reasons),
        "## What the verdicts are worth",
        "\n".join(f"- {escaped(line)}" for line in page.worth),
        "## Notes" if page.notes else "",
        "\n".join(f"- {escaped(line)}" for line in page.notes),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _grid(whole: Grid, warning: str) -> str:
    grid = whole.up_to(ALWAYS_WIDE)
    rows = [[warning] + [""] * (len(grid.columns) - 1)] if warning else []
    rows += (list(map(escaped, row)) for row in grid.rows)
    return table([(column.title, column.is_number) for column in grid.columns], rows)


def titled_grid(grid: Grid) -> str:
    """Return a grid under its title."""
    return f"## {grid.title}\n\n{_grid(grid, '')}\n"


def table(heads: Iterable[tuple[str, bool]], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; ``heads`` are titles and whether a column is of numbers. Nothing is escaped here."""
    titles, are_numbers = zip(*heads, strict=True)
    rules = ("---:" if is_number else "---" for is_number in are_numbers)
    return "\n".join(map(_line, (titles, rules, *rows)))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- `{name}`: {escaped(value)}" for name, value in pairs)


def escaped(value: str) -> str:
    """Escape what Markdown would read as layout: table bars, emphasis, HTML, line breaks."""
    plain = " ".join(value.split())
    for character in "\\|*_`<>[":
        plain = plain.replace(character, f"\\{character}")
    return plain
