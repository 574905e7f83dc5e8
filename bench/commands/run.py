"""``run``: one cell with one seed, or a sweep over settings of it."""

import dataclasses
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from bench.commands.cell import run_of_cell
from bench.commands.changes import OtherSettings
from bench.commands.images import content_of, located
from bench.commands.place import Place, ProfileName
from bench.commands.result import result_line, sweep_lines
from bench.config import overrides
from bench.config.profiles import PROFILES
from bench.config.run import Run as Setting
from bench.errors import UsageError
from bench.runs.outcomes import Failed
from bench.runs.record import Record
from bench.runs.world import World


@dataclass(frozen=True, kw_only=True)
class Run:
    """Train, evaluate and record one cell with one seed, outside any table, and print the result and where it lies.

    Attributes:
        cell: FRAMEWORK/METHOD/GRANULARITY/POINT, e.g. simclr/synchronized/element/d0.10+g0.30; `methods` lists names.
        profile: size of the experiment: minutes on 2 cores, an hour a seed, a day on a GPU, or weeks on GPUs.
        seed: decides everything that is random.
        data: cifar10, cifar100, imagenet100, digits, an image folder's name under the data directory, or its path.
        vary: make a run for each of these values of a setting, e.g. optimizer.learning_rate=0.03,0.06,0.12 or
            seed=0,1,2, and print a table; repeat it for every combination with another setting.
        json: print the whole record instead of the line.
        force: start even where this machine would take days.
        other: settings other than the profile's.
        place: where to work.
    """

    cell: Positional[Annotated[str, arg(metavar="CELL")]]
    profile: ProfileName = "smoke"
    seed: Annotated[int, arg(metavar="N")] = 0
    data: Annotated[str, arg(metavar="NAME|PATH")] = "cifar10"
    vary: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="KEY=A,B,...")]] = ()
    json: bool = False
    force: bool = False
    other: OtherSettings = field(default_factory=OtherSettings)
    place: Place = field(default_factory=Place)

    def act(self) -> int:
        """Make what is missing, print it, and return the exit code.

        Raises:
            DataError, RunError: a run cannot be built.
            UsageError: it would take days on a CPU, and there is no ``force``; or there is no such device.
        """
        name, place = located(self.data, self.place)
        return dataclasses.replace(self, data=name, place=place).carry_out()

    def carry_out(self) -> int:
        """Make what is missing; the data set is named, and ``place`` has it."""
        runs, notes = self._runs()
        context = self.place.context
        from bench.data import dataset
        from bench.runs import job

        world = World.of_environment()
        if world.size > 1:
            return self._together(runs, world)
        for note in notes:
            print(note, file=sys.stderr)
        for run in runs:
            images = dataset.load(run.data, context.data_dir, context.cache_dir)
            job.check(run, images, compiles=context.compiles)
        failed = False
        made: dict[str, Record] = {}
        for _, same_data in itertools.groupby(runs, key=lambda run: run.data):
            failed |= self._perform(tuple(same_data), made)
        if self.json:
            print("".join(record.text for record in made.values()), end="")
        elif self.vary:
            print(*sweep_lines(made, runs, [*self._varied]), sep="\n")
        else:
            print(*(result_line(record, self.place.runs_dir) for record in made.values()), sep="\n")
        return int(failed)

    def _together(self, runs: "Sequence[Setting]", world: World) -> int:
        """Make one run on all ranks of torchrun; rank 0 prints it."""
        from bench.data import dataset
        from bench.runs.perform import require_holds, task_of
        from bench.runs.ranks import perform_together

        if self.vary or self.place.lane != "local":
            raise UsageError("torchrun: its ranks make one run together. Leave --vary and --lane out.")
        (run,), context = runs, world.context(self.place.context)
        if world.rank == 0:
            for note in require_holds(context):
                print(note, file=sys.stderr)
        images = dataset.load(run.data, context.data_dir, context.cache_dir)
        made = perform_together(run, task_of([run], context, images), world)
        if made is None:
            return 0
        if isinstance(made, Record):
            print(made.text if self.json else result_line(made, self.place.runs_dir), end="" if self.json else "\n")
            return 0
        why = made.reason if isinstance(made, Failed) else f"waiting would take long: {made.holder} is at the same run"
        print(f"{made.run_id}: {why}", file=sys.stderr)
        return 1

    @property
    def _varied(self) -> dict[str, list[str]]:
        """What is varied: key -> values."""
        values = {key: [part.strip() for part in text.split(",")] for key, text in map(overrides.split, self.vary)}
        if len(values) < len(self.vary):
            raise UsageError("--vary: the same setting twice. Give all its values at once, as KEY=A,B,C.")
        return values

    def _runs(self) -> tuple[list[Setting], tuple[str, ...]]:
        """Return the runs that are asked for, each once, those of equal data together, and notes on the data."""
        from bench.data import fit
        from bench.training import parts

        encoder = self.other.changes.get("encoder.name", "")
        of_profile = run_of_cell(self.cell, profile=self.profile, data=self.data, seed=self.seed, encoder=str(encoder))
        parts.require_known(of_profile)
        content = content_of(self.data, self.place)
        run, notes = self.other.applied(fit.fitted(of_profile, content)), fit.remarks(of_profile.data, content)
        varied = self._varied
        twice = sorted(varied.keys() & self.other.changes.keys())
        if twice:
            raise UsageError(f"{', '.join(twice)}: set and varied. Do one of both.")
        combinations = (dict(zip(varied, each, strict=True)) for each in itertools.product(*varied.values()))
        runs = dict.fromkeys(overrides.changed(run, each) for each in combinations)
        return sorted(runs, key=lambda each: [*{item.data: None for item in runs}].index(each.data)), notes

    def _perform(self, runs: Sequence[Setting], made: dict[str, Record]) -> bool:
        """Make runs of equal data, add their records, and return whether one failed."""
        from bench.runs.perform import perform

        outcomes, notes = perform(
            runs,
            self.place.context,
            hire=self.place.hire,
            force=self.force,
            wants_gpu=PROFILES[self.profile].wants_gpu,
            redo=self.place.redo,
        )
        for note in notes:
            print(note, file=sys.stderr)
        for outcome in outcomes:
            if isinstance(outcome, Record):
                made[outcome.run_id] = outcome
            else:
                print(f"{outcome.run_id}: {outcome.reason}", file=sys.stderr)
        return len(made.keys() & {run.run_id for run in runs}) < len(runs)
