"""``run``: one cell with one seed."""

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import tyro

from bench.commands.place import Place, Places, ProfileName
from bench.config.cell import parse_cell
from bench.config.profiles import PROFILES
from bench.config.run import SparsitySpec
from bench.data import dataset
from bench.runs.perform import perform
from bench.runs.record import Record
from bench.tables import gating
from bench.training import parts


def make_run(
    cell: str,
    profile: str,
    place: Place,
    *,
    seed: int,
    data_name: str,
    train_images: int | None,
    held_out_images: int | None,
    epochs: int | None,
    batch_images: int | None,
    pipeline: str | None,
    probe: str | None,
    force: bool,
) -> int:
    """Make one run, print its record, and return the exit code. Gates hold out as many images as their table does.

    Raises:
        DataError, ValueError: it cannot be built.
        UsageError: it would take days on a CPU, and there is no ``force``.
    """
    name = parse_cell(cell)
    sparsity = SparsitySpec.at(method=name.method, granularity=name.granularity, point=name.point)
    run = PROFILES[profile].run(name.framework, sparsity, data_name)
    if sparsity.reduction and held_out_images is None:
        held_out_images = gating.SIZES[profile].held_out_images
    images = {"train_images": train_images, "held_out_images": held_out_images}
    optimizer = {"epochs": epochs, "batch_images": batch_images}
    run = dataclasses.replace(
        run,
        data=dataclasses.replace(run.data, **_given(images)),
        optimizer=dataclasses.replace(run.optimizer, **_given(optimizer)),
        views=dataclasses.replace(run.views, **_given({"pipeline": pipeline})),
        evaluation=dataclasses.replace(run.evaluation, **_given({"probe": probe})),
        seed=seed,
    )
    parts.check(run, dataset.load(run.data, place.data_dir, place.context.cache_dir))
    (outcome,), notes = perform([run], place.context, jobs=place.jobs, force=force or profile != "paper")
    for note in notes:
        print(note, file=sys.stderr)
    if isinstance(outcome, Record):
        print(outcome.text, end="")
        return 0
    print(f"{outcome.run_id}: {outcome.reason}", file=sys.stderr)
    return 1


def _given(options: Mapping[str, int | str | None]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


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
        return make_run(
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
