"""The command line: ``python -m bench {table,run,data,...}``. Argument parsing only."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bench.commands import accelerator as commands_accelerator
from bench.commands import table
from bench.commands.place import Place, UsageError
from bench.data.dataset import DataError
from bench.judging.settings import SettingsError
from bench.runs.record import RecordError
from bench.speedup.trace import WORKLOADS
from hardware import presets

ProfileName = Literal["smoke", "cpu", "paper"]


def _data_dir() -> Path | None:
    named = os.environ.get("SPARSE_SSL_DATA")
    return Path(named) if named else None


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things lie.

    Attributes:
        data_dir: folder that holds the data sets; the environment's SPARSE_SSL_DATA unless given, else OUT/data.
        out: folder for runs, cache and tables.
        jobs: one-thread worker processes; as many as cores unless given.
        checkpoint_seconds: between two checkpoints of a run; changes no number.
        accelerator: where to train; the jobs share it.
    """

    data_dir: Path | None = field(default_factory=_data_dir)
    out: Path = Path("out")
    jobs: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    checkpoint_seconds: float = 10.0
    accelerator: Literal["cpu", "cuda", "auto"] = "cpu"

    @property
    def place(self) -> Place:
        """The same as the commands want it."""
        if self.jobs < 1:
            raise UsageError(f"--jobs {self.jobs}: at least one worker is needed.")
        out = self.out.resolve()
        if self.data_dir is None:
            (out / "data").mkdir(parents=True, exist_ok=True)
        return Place(
            out=out,
            data_dir=self.data_dir or out / "data",
            jobs=self.jobs,
            checkpoint_seconds=self.checkpoint_seconds,
            accelerator=self.accelerator,
        )


@dataclass(frozen=True, kw_only=True)
class Table(Places):
    """Run what is missing of a table, judge every number, print it, and write Markdown, HTML and JSON.

    Attributes:
        name: which table.
        profile: its size.
        cells: only cells FRAMEWORK/METHOD/GRANULARITY/POINT that match this pattern.
        seeds: fresh seeds per cell, from 100; the profile's number unless given.
        data: another data set than the table's own, e.g. cifar100 for the table gating.
        stored: train nothing; judge what lies under --out, else show the stored references.
        strict: INCONCLUSIVE fails too.
        force: start even where this machine would take days.
    """

    name: tyro.conf.Positional[str] = "cifar10"
    profile: ProfileName = "smoke"
    cells: str = "*"
    seeds: int | None = None
    data: str | None = None
    stored: bool = False
    strict: bool = False
    force: bool = False

    def act(self) -> int:
        """Return the exit code."""
        return table.make_table(
            self.name,
            self.profile,
            self.place,
            cells=self.cells,
            seeds=self.seeds,
            data_name=self.data,
            only_stored=self.stored,
            strict=self.strict,
            force=self.force,
        )


@dataclass(frozen=True, kw_only=True)
class Run(Places):
    """Train, evaluate and record one cell with one seed, outside any table, and print its record.

    Attributes:
        cell: FRAMEWORK/METHOD/GRANULARITY/POINT, e.g. simclr/synchronized/element/d0.10+g0.30.
        profile: sizes and constants.
        seed: of everything that is random.
        data: cifar10, cifar100, digits, or the name of an image folder under the data directory.
        train_images: use only the first so many images in canonical order; the profile's number unless given.
        held_out_images: of them, hold out the last so many; gates are steered on these. As the gating table does,
            for a cell with gates, unless given; else none.
        epochs: the profile's number unless given.
        batch_images: the profile's number unless given.
        pipeline: of the views; the profile's unless given.
        probe: how features are judged linearly; the profile's unless given.
        force: start even where this machine would take days.
    """

    cell: tyro.conf.Positional[str]
    profile: ProfileName = "smoke"
    seed: int = 0
    data: str = "cifar10"
    train_images: int | None = None
    held_out_images: int | None = None
    epochs: int | None = None
    batch_images: int | None = None
    pipeline: Literal["batched-v1", "lightly"] | None = None
    probe: Literal["lbfgs", "sgd"] | None = None
    force: bool = False

    def act(self) -> int:
        """Return the exit code."""
        return table.make_run(
            self.cell,
            self.profile,
            self.place,
            seed=self.seed,
            data_name=self.data,
            train_images=self.train_images,
            held_out_images=self.held_out_images,
            epochs=self.epochs,
            batch_images=self.batch_images,
            pipeline=self.pipeline,
            probe=self.probe,
            force=self.force,
        )


@dataclass(frozen=True, kw_only=True)
class Data(Places):
    """Say which data sets are found where, and whether they are verified; download what is missing if asked.

    Attributes:
        download: fetch this data set into the data directory.
    """

    download: Literal["cifar10", "cifar100"] | None = None

    def act(self) -> int:
        """Return the exit code."""
        return table.show_data(self.place, download=self.download)


@dataclass(frozen=True, kw_only=True)
class Methods:
    """List the sparse methods and the frameworks."""

    def act(self) -> int:
        """Return the exit code."""
        return table.show_methods()


@dataclass(frozen=True, kw_only=True)
class GateSpeed:
    """Time gated layers of ResNet-18's shapes: dense, masked as in training, and really skipping.

    Attributes:
        slice_channels: output channels that share a gate; at most 16, a quarter of the narrowest layer.
    """

    slice_channels: int = 16

    def act(self) -> int:
        """Return the exit code."""
        return table.show_gate_speed(self.slice_channels)


@dataclass(frozen=True, kw_only=True)
class Record(Places):
    """Make a table's stored references with the committed code: seeds 0 and on.

    Attributes:
        name: which table.
        profile: its size.
        cells: only cells that match this pattern.
        seeds: per cell, at least 3.
        data: the table's own data set and digits, the stand-in, unless one of them is given.
        force: start even where this machine would take days.
    """

    name: tyro.conf.Positional[str] = "cifar10"
    profile: ProfileName = "smoke"
    cells: str = "*"
    seeds: int = 5
    data: str | None = None
    force: bool = False

    def act(self) -> int:
        """Return the exit code."""
        return table.record_references(
            self.name,
            self.profile,
            self.place,
            cells=self.cells,
            seeds=self.seeds,
            data_name=self.data,
            force=self.force,
        )


@dataclass(frozen=True, kw_only=True)
class Regression(Places):
    """Repeat stored references with their own seed: exact where the machine class is the same.

    Attributes:
        name: which table.
        profile: its size.
        cells: only cells that match one of these patterns; a few that cover every method unless given.
        data: the table's own data set, or digits for the stand-in's references.
    """

    name: tyro.conf.Positional[str] = "cifar10"
    profile: ProfileName = "smoke"
    cells: tuple[str, ...] = ()
    data: str | None = None

    def act(self) -> int:
        """Return the exit code."""
        return table.repeat_references(self.name, self.profile, self.place, cells=self.cells, data_name=self.data)


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
        return commands_accelerator.trace_workloads(self.names, self.folder)


@dataclass(frozen=True, kw_only=True)
class Accelerator(Places):
    """Say what masks buy when training, on modelled accelerators: cycles, traffic and energy of a step. Trains nothing.

    Attributes:
        machines: presets of hardware/, or paths of own machines ending with .toml.
        cells: only runs under --out whose cell matches.
        draws: also rows from masks drawn at random, for every granularity.
        document: write results/accelerator.md and its pictures anew instead.
    """

    machines: tuple[str, ...] = field(default_factory=lambda: tuple(presets.names()))
    cells: str = "*"
    draws: bool = True
    document: bool = False

    def act(self) -> int:
        """Return the exit code."""
        if self.document:
            return commands_accelerator.write_accelerator_document()
        return commands_accelerator.make_accelerator_table(
            self.place, machines=self.machines, cells=self.cells, with_draws=self.draws
        )


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
