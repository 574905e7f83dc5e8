"""The command line: ``python -m bench {table,run,data,...}``. Argument parsing only."""

import os
import signal
import sys
from typing import Annotated

import tyro
from tyro.conf import subcommand

from bench.commands.accelerator import Accelerator
from bench.commands.bench_step import BenchStep
from bench.commands.claims import Claims
from bench.commands.data import Data
from bench.commands.diff import Diff
from bench.commands.export import Export
from bench.commands.gate_speed import GateSpeed
from bench.commands.gpu_check import GpuCheck
from bench.commands.merge import Merge
from bench.commands.methods import Methods
from bench.commands.real_speed import RealSpeed
from bench.commands.record import Record
from bench.commands.regression import Regression
from bench.commands.report import Report
from bench.commands.run import Run
from bench.commands.runs import Runs
from bench.commands.show import Show
from bench.commands.table import Table
from bench.commands.verify import Verify
from bench.commands.workload import Workload
from bench.errors import UserError
from bench.runs.interrupts import Interrupted

Command = (
    Annotated[Table, subcommand("table")]
    | Annotated[Run, subcommand("run")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Claims, subcommand("claims")]
    | Annotated[Show, subcommand("show")]
    | Annotated[Runs, subcommand("runs")]
    | Annotated[Diff, subcommand("diff")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Merge, subcommand("merge")]
    | Annotated[Verify, subcommand("verify")]
    | Annotated[Data, subcommand("data")]
    | Annotated[Methods, subcommand("methods")]
    | Annotated[GateSpeed, subcommand("gate-speed")]
    | Annotated[BenchStep, subcommand("bench-step")]
    | Annotated[GpuCheck, subcommand("gpu-check")]
    | Annotated[RealSpeed, subcommand("real-speed")]
    | Annotated[Record, subcommand("record")]
    | Annotated[Regression, subcommand("regression")]
    | Annotated[Workload, subcommand("workload")]
    | Annotated[Accelerator, subcommand("accelerator")]
)
STYLE = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)


def main() -> int:
    """Parse, act, and turn what the user can mend into one line and an exit code; a bug of ours keeps its traceback."""
    try:
        code = tyro.cli(Command, prog="python -m bench", config=STYLE).act()
        sys.stdout.flush()  # now, while what goes wrong can be told
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read has seen enough, as `head` does
        _forget_the_output()
        return 128 + signal.SIGPIPE
    except OSError as error:  # a full disk, a folder that is a file or may not be written, ...
        if error.filename is None:
            _forget_the_output()
        print(f"error: {error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print("interrupted; the same command again continues where this one stopped", file=sys.stderr)
        return interrupt.exit_code if isinstance(interrupt, Interrupted) else 130
    return code


def _forget_the_output() -> None:
    """Let what is left in the buffer go nowhere, so that Python does not complain while it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
