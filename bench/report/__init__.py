"""A judged table for people and for programs."""

import sys
from pathlib import Path

from bench.files import write_atomically
from bench.judging.judged_table import JudgedTable
from bench.report.gate_plots import accuracy_against_reduction, has_gates
from bench.report.html import html
from bench.report.json import payload
from bench.report.markdown import markdown
from bench.report.page import Page, page
from bench.report.text import text


def show(table: JudgedTable) -> None:
    """Print the table to standard output: coloured and folded in a terminal, plain and unfolded elsewhere."""
    show_page(page(table))


def show_page(laid_out: Page) -> None:
    """Print a page that was laid out already."""
    print(text(laid_out, sys.stdout), end="")  # noqa: T201 - showing is what it is for


def write(table: JudgedTable, folder: Path) -> tuple[Path, ...]:
    """Write ``TABLE-PROFILE-DATA.{md,html,json}``, with gates also ``.svg``, each atomically; return the paths."""
    stem = f"{table.spec.name}-{table.spec.profile}-{table.spec.data}"
    paths = write_page(page(table), payload(table), folder / stem)
    if not has_gates(table):
        return paths
    picture = folder / f"{stem}.svg"
    write_atomically(picture, accuracy_against_reduction(table))
    return (*paths, picture)


def write_page(laid_out: Page, numbers: str, stem: Path) -> tuple[Path, ...]:
    """Write a page as ``STEM.md`` and ``STEM.html``, and its numbers as ``STEM.json``; return the paths."""
    contents = {"md": markdown(laid_out), "html": html(laid_out), "json": numbers}
    paths = {suffix: stem.with_name(f"{stem.name}.{suffix}") for suffix in contents}
    for suffix, content in contents.items():
        write_atomically(paths[suffix], content.encode())
    return tuple(paths.values())


__all__ = ["show", "show_page", "write", "write_page"]
