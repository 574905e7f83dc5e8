"""The report for a terminal, or for a log."""

import io
from typing import TextIO

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from bench.report.grid import ALWAYS_WIDE, Grid
from bench.report.page import Page

_UNFOLDED = 10_000  # characters: a log or a pipe gets whole lines
_STYLES = {"REPRODUCED": "green", "DEVIATES": "bold red", "FAILED": "bold red", "NOT_RUN": "bold red"}


def text(page: Page, stream: TextIO) -> str:
    """Return the report as it fits ``stream``; colour, in a terminal alone, repeats what words say."""
    console = _console(stream)
    with console.capture() as capture:
        _print(page, console)
    return _stripped(capture.get())


def alone(grid: Grid, stream: TextIO) -> str:
    """Return one table under its title, as it fits ``stream``: all columns, folded where there is little room."""
    console = _console(stream)
    with console.capture() as capture:
        console.print(grid.title, style="bold")
        console.print(_table(grid, "", ALWAYS_WIDE))
    return _stripped(capture.get())


def _console(stream: TextIO) -> Console:
    is_terminal = stream.isatty()
    return Console(
        file=io.StringIO(),
        force_terminal=is_terminal,
        no_color=not is_terminal,
        width=Console(file=stream).width if is_terminal else _UNFOLDED,
        highlight=False,
        emoji=False,
        markup=False,
    )


def _stripped(printed: str) -> str:
    return "\n".join(line.rstrip() for line in printed.splitlines()) + "\n"


def _print(page: Page, console: Console) -> None:
    console.print(page.title, style="bold")
    console.print(page.lead)
    if page.banner:
        console.print(f"!!! {page.banner}", style="bold")
    width = max(len(name) for name, _ in page.heading) + 2
    for name, value in page.heading:
        console.print(f"{name + ':':<{width}}{value}")
    for grid, alarms, reasons, banner in (
        (page.results, page.alarms, page.reasons, page.banner),
        (page.claims, (), page.claim_reasons, ""),
    ):
        console.print(f"\n{grid.title}", style="bold")
        console.print(_fitting(grid, banner, console))
        console.print()
        for line in alarms:
            console.print(line)
        for name, value in reasons:
            console.print(f"{name}: {value}")
    console.print()
    for line in (*page.worth, *page.notes, "More columns are in the files."):
        console.print(line)


def _fitting(grid: Grid, banner: str, console: Console) -> Table:
    """Return the grid with as many columns as fit without folding a cell, at least those of rank 0."""
    room = console.options.update(width=_UNFOLDED)
    for rank in range(ALWAYS_WIDE - 1, 0, -1):
        table = _table(grid, banner, rank)
        if Measurement.get(console, room, table).maximum <= console.width:
            return table
    return _table(grid, banner, 0)


def _table(grid: Grid, banner: str, rank: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    shown = grid.up_to(rank)
    for column in shown.columns:
        table.add_column(column.title, justify="right" if column.is_number else "left", overflow="fold")
    if banner:
        table.add_row(Text("!!! " + banner.partition(":")[0]), *[""] * (len(shown.columns) - 1))
    for row in shown.rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    return table
