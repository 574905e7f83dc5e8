"""The command line: ``python -m bench {table,run,data,...}``. Argument parsing only."""

import sys
from typing import Annotated

import tyro

from bench.commands.accelerator import Accelerator, Workload
from bench.commands.listing import Data, GateSpeed, Methods
from bench.commands.record import Record
from bench.commands.regression import Regression
from bench.commands.run import Run
from bench.commands.table import Table
from bench.data.dataset import DataError
from bench.errors import UsageError
from bench.judging.settings import SettingsError
from bench.runs.record import RecordError

Command = (
    Annotated[Table, tyro.conf.subcommand("table")]
    | Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Methods, tyro.conf.subcommand("methods")]
    | Annotated[GateSpeed, tyro.conf.subcommand("gate-speed")]
    | Annotated[Record, tyro.conf.subcommand("record")]
    | Annotated[Regression, tyro.conf.subcommand("regression")]
    | Annotated[Workload, tyro.conf.subcommand("workload")]
    | Annotated[Accelerator, tyro.conf.subcommand("accelerator")]
)


def main() -> int:
    """Parse, act, and turn what goes wrong into one line and an exit code."""
    try:
        command = tyro.cli(Command, prog="python -m bench", config=(tyro.conf.OmitArgPrefixes,))
        return command.act()
    except (UsageError, DataError, RecordError, SettingsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command again continues where this one stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
