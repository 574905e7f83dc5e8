"""What the command line does about accelerators: trace networks, tabulate masks, write the model's document."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from bench.commands.place import Place, Places
from bench.errors import UsageError
from bench.files import write_atomically
from bench.report import show, write_page
from bench.speedup import document, drawn, ratios, recorded, table, trace
from bench.speedup.plots import PLOTS
from bench.speedup.trace import WORKLOADS
from hardware import presets


def trace_workloads(names: Sequence[str], folder: Path) -> int:
    """Trace networks anew, all of them unless some are named, into files that ``hardware`` reads."""
    for name in names or tuple(trace.names()):
        traced = trace.trace(trace.named(name), name)
        write_atomically(trace.path_of(name, folder), traced.text.encode())
        print(f"{name}: {len(traced.layers)} layers, {traced.digest[:16]}")
    return 0


def make_accelerator_table(place: Place, *, machines: Sequence[str], cells: str, with_draws: bool) -> int:
    """Print what the runs under ``place.out`` and random masks buy on modelled accelerators, and write it.

    Raises:
        HardwareError, RecordError: exit code 2, with the way out.
        UsageError: nothing to show.
    """
    found = list(recorded.courses(place.context.runs_dir, cells))
    courses = [*found, *(drawn.courses() if with_draws else ())]
    if not courses:
        raise UsageError(f"no run under {place.context.runs_dir} matches {cells!r}. Make one, or leave out --no-draws.")
    lines = table.lines(courses, machines)
    judged = ratios.judge(ratios.load(), table.ratios(lines))
    notes = recorded.left_out(place.context.runs_dir, cells)
    notes += () if found else (f"No run under {place.context.runs_dir} matches {cells!r}: all masks are drawn.",)
    laid_out = table.page(lines, judged, notes)
    show(laid_out)
    folder = place.out / "tables"
    for path in write_page(laid_out, table.payload(lines, judged), folder / "accelerator"):
        print(f"wrote {path}", file=sys.stderr)
    return 0


def write_accelerator_document() -> int:
    """Write ``results/accelerator.md`` and its drawings anew."""
    write_atomically(document.DOCUMENT, document.document().encode())
    for name, plot in PLOTS.items():
        write_atomically(document.DOCUMENT.parent / document.FOLDER / f"{name}.svg", plot.svg())
    print(f"wrote {document.DOCUMENT}", file=sys.stderr)
    return 0


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Trace the networks of the profiles, and one optimizer step of each framework, for the accelerator model.

    Attributes:
        names: PROFILE-FRAMEWORK, e.g. paper-byol; all unless given.
        folder: where the JSON files go.
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    folder: Path = WORKLOADS

    def act(self) -> int:
        """Return the exit code."""
        return trace_workloads(self.names, self.folder)


@dataclass(frozen=True, kw_only=True)
class Accelerator(Places):
    """Say what masks buy when training, on modelled accelerators: cycles, traffic and energy of a step. Trains nothing.

    Attributes:
        machines: presets of hardware/, or paths of own machines ending with .toml.
        cells: only runs under --out whose cell matches.
        draws: also rows from masks drawn at random, for every granularity.
        document: write results/accelerator.md and its drawings anew instead.
    """

    machines: tuple[str, ...] = field(default_factory=lambda: tuple(presets.names()))
    cells: str = "*"
    draws: bool = True
    document: bool = False

    def act(self) -> int:
        """Return the exit code."""
        if self.document:
            return write_accelerator_document()
        return make_accelerator_table(self.place, machines=self.machines, cells=self.cells, with_draws=self.draws)
