"""A judged table for people and for programs."""

import sys
from pathlib import Path

from bench.judged import JudgedTable
from bench.record import write_atomically
from bench.report.html import html
from bench.report.layout import page
from bench.report.markdown import markdown
from bench.report.payload import payload
from bench.report.text import text


def show(table: JudgedTable) -> None:
    """Print the table to standard output: coloured and folded in a terminal, plain and unfolded elsewhere."""
    print(text(page(table), sys.stdout), end="")  # noqa: T201 - showing is what it is for


def write(table: JudgedTable, folder: Path) -> tuple[Path, ...]:
    """Write ``TABLE-PROFILE-DATA.{md,html,json}`` into a folder, each atomically; return the paths."""
    stem = f"{table.spec.name}-{table.spec.profile}-{table.spec.data}"
    contents = {"md": markdown(page(table)), "html": html(page(table)), "json": payload(table)}
    for suffix, content in contents.items():
        write_atomically(folder / f"{stem}.{suffix}", content.encode())
    return tuple(folder / f"{stem}.{suffix}" for suffix in contents)


__all__ = ["show", "write"]
