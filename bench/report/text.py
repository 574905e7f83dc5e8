"""The report for a terminal, or for a log."""

import io
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.report.layout import Grid, Page

_UNFOLDED = 10_000  # characters: a log or a pipe gets whole lines
_STYLES = {"REPRODUCED": "green", "DEVIATES": "bold red", "FAILED": "bold red", "NOT_RUN": "bold red"}


def text(page: Page, stream: TextIO) -> str:
    """Return the report as it fits ``stream``; colour, in a terminal alone, repeats what words say."""
    is_terminal = stream.isatty()
    console = Console(
        file=io.StringIO(),
        force_terminal=is_terminal,
        no_color=not is_terminal,
        width=Console(file=stream).width if is_terminal else _UNFOLDED,
        highlight=False,
        emoji=False,
        markup=False,
    )
    with console.capture() as capture:
        _print(page, console)
    lines = capture.get().splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _print(page: Page, console: Console) -> None:
    console.print(page.title, style="bold")
    if page.banner:
        console.print(f"!!! {page.banner}", style="bold")
    for name, value in page.heading:
        console.print(f"{name + ':':<13}{value}")
    console.print()
    console.print(_grid(page.results, page.banner))
    for name, value in page.reasons:
        console.print(f"{name}: {value}")
    console.print()
    console.print(_grid(page.claims, ""))
    for name, value in page.claim_reasons:
        console.print(f"{name}: {value}")
    console.print()
    for line in (*page.worth, *page.notes):
        console.print(line)


def _grid(grid: Grid, banner: str) -> Table:
    table = Table(title=grid.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    shown = [index for index, column in enumerate(grid.columns) if not column.is_wide_only]
    for index in shown:
        column = grid.columns[index]
        table.add_column(column.title, justify="right" if column.is_number else "left", overflow="fold")
    if banner:
        table.add_row(Text("!!! " + banner.partition(":")[0]), *[""] * (len(shown) - 1))
    for row in grid.rows:
        table.add_row(*(Text(row[index], style=_STYLES.get(row[index], "")) for index in shown))
    return table
