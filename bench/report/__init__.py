"""A judged table for people and for programs."""

import sys
from pathlib import Path

from bench.files import write_atomically
from bench.judging.judged_table import JudgedTable
from bench.report.cost_plot import accuracy_against_cost
from bench.report.gate_plots import accuracy_against_reduction
from bench.report.html import html
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
    paths = write_page(laid_out, payload(table), folder / stem)
    drawing = folder / f"{stem}.svg"
    write_atomically(drawing, accuracy_against_reduction(table) if table.has_gates else accuracy_against_cost(table))
    return (*paths, drawing)


def write_page(laid_out: Page, numbers: str, stem: Path) -> tuple[Path, ...]:
    """Write a page as ``STEM.md`` and ``STEM.html``, and its numbers as ``STEM.json``; return the paths."""
    contents = {"md": markdown(laid_out), "html": html(laid_out), "json": numbers}
    paths = {suffix: stem.with_name(f"{stem.name}.{suffix}") for suffix in contents}
    for suffix, content in contents.items():
        write_atomically(paths[suffix], content.encode())
    return tuple(paths.values())


__all__ = ["page", "show", "write", "write_page"]
