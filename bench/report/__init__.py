"""A judged table for people and for programs."""

import sys
from pathlib import Path

from bench.files import write_atomically
from bench.judging.judged_table import JudgedTable
from bench.report.drawings import drawings
from bench.report.html import Drawing, page_html
from bench.report.json import payload
from bench.report.markdown import markdown
from bench.report.page import Page, page
from bench.report.text import text


def show(laid_out: Page) -> None:
    """Print a page to standard output: coloured and folded in a terminal, plain and unfolded elsewhere."""
    print(text(laid_out, sys.stdout), end="")  # noqa: T201 - showing is what it is for


def write(table: JudgedTable, laid_out: Page, folder: Path) -> tuple[Path, ...]:
    """Write ``STEM.{md,html,json,svg}``, each atomically; return the paths.

    Args:
        table: as judged.
        laid_out: the table's ``page``: laid out once for the screen and the files.
        folder: where the files go.
    """
    stem = table.spec.stem
    drawn = drawings(table)
    paths = write_page(laid_out, payload(table), folder / stem, drawn)
    path = folder / f"{stem}.svg"
    write_atomically(path, drawn[0].content)
    return (*paths, path)


def write_page(laid_out: Page, numbers: str, stem: Path, drawn: tuple[Drawing, ...] = ()) -> tuple[Path, ...]:
    """Write a page as ``STEM.md`` and ``STEM.html``, and its numbers as ``STEM.json``; return the paths."""
    contents = {"md": markdown(laid_out), "html": page_html(laid_out, drawn), "json": numbers}
    paths = {suffix: stem.with_name(f"{stem.name}.{suffix}") for suffix in contents}
    for suffix, content in contents.items():
        write_atomically(paths[suffix], content.encode())
    return tuple(paths.values())


__all__ = ["page", "show", "write", "write_page"]
