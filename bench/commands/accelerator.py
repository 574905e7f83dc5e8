"""``accelerator``: what masks buy when training, on modelled accelerators."""

import sys
from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import arg

from bench.commands.place import Glob, Out
from bench.errors import UsageError
from bench.files import write_atomically


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """Say what masks buy when training, on modelled accelerators: cycles, traffic and energy of a step. Trains nothing.

    Attributes:
        machines: presets of hardware/, or paths of own machines ending with .toml.
        cells: use only runs under --out whose cell FRAMEWORK/METHOD/GRANULARITY/POINT matches.
        no_draws: leave out the rows from masks drawn at random, for every granularity.
        document: write results/accelerator.md and its drawings anew instead.
        place: where the runs lie.
    """

    machines: Annotated[tuple[str, ...], arg(metavar="MACHINE ...", help_behavior_hint="(default: all presets)")] = ()
    cells: Glob = "*"
    no_draws: bool = False
    document: bool = False
    place: Out = field(default_factory=Out)

    def act(self) -> int:
        """Print and write the table, or the document; return the exit code.

        Raises:
            RecordError: a run's record or masks cannot be trusted.
            UsageError: a machine cannot be built, or there is nothing to show.
        """
        from hardware.checks import HardwareError

        try:
            return self._write_document() if self.document else self._make_table()
        except HardwareError as error:
            raise UsageError(str(error)) from error

    def _make_table(self) -> int:
        from bench.report import show, write_page
        from bench.speedup import drawn, expected, ratios, recorded, table
        from hardware import presets

        machines = self.machines or presets.names()
        for name in machines:  # no such machine? Said before anything is read
            presets.machine(name)
        runs_dir, nothing = self.place.runs_dir, f"No run under {self.place.runs_dir} matches {self.cells!r}"
        found = list(recorded.courses(runs_dir, self.cells))
        courses = [*found, *(drawn.courses() if not self.no_draws else ())]
        if not courses:
            raise UsageError(f"{nothing}. Make one, or leave out --no-draws.")
        lines = table.lines(courses, machines)
        judged = ratios.judge(ratios.load(), expected.speed_ups())
        notes = recorded.left_out(runs_dir, self.cells)
        notes += () if found else (f"{nothing}: all masks are drawn.",)
        laid_out = table.page(lines, judged, notes)
        show(laid_out)
        for path in write_page(laid_out, table.payload(lines, judged), self.place.tables_dir / "accelerator"):
            print(f"wrote {path}", file=sys.stderr)
        return 0

    def _write_document(self) -> int:
        from bench.speedup import document
        from bench.speedup.plots import PLOTS

        write_atomically(document.DOCUMENT, document.document().encode())
        for name, plot in PLOTS.items():
            write_atomically(document.DOCUMENT.parent / document.FOLDER / f"{name}.svg", plot.svg())
        print(f"wrote {document.DOCUMENT}", file=sys.stderr)
        return 0
