"""Rows from real runs: their masks at the end and at five points of the schedule, checked against their records."""

import dataclasses
import fnmatch
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import build, workload
from bench.accelerator.course import POINTS, Course, Moment, course_of
from bench.config import Run, SparsitySpec
from bench.record import Record, RecordError, run_of
from hardware import masks
from hardware.workload import Workload
from methods import masking


def courses(runs_dir: Path, cells: str) -> Iterator[Course]:
    """Yield a row per cell whose name matches: its run of the lowest seed.

    Raises:
        RecordError: a record or its masks cannot be trusted; the message names the file and the way out.
    """
    chosen: dict[Run, tuple[Run, Record, Path]] = {}
    for path in sorted(runs_dir.glob("*/record.json")):
        record = Record.load(path)
        run = run_of(record, path)
        key = dataclasses.replace(run, seed=0)
        if fnmatch.fnmatchcase(run.cell, cells) and (key not in chosen or run.seed < chosen[key][0].seed):
            chosen[key] = (run, record, path.with_name("masks.npz"))
    for run, record, path in chosen.values():
        if run.sparsity.method not in NOT_TRAINED:
            yield course(run, record, path)


NOT_TRAINED = {"untrained"}  # takes no step, so no step costs anything


def course(run: Run, record: Record, path: Path) -> Course:
    """Return the row of one run.

    Raises:
        RecordError: the masks are not those of the record.
    """
    network, encoder = _traced(dataclasses.replace(run, seed=0, sparsity=SparsitySpec(method="dense")))
    check(record, path, network, encoder)
    points = [_moment(path, network, f"point{index}") for index in range(POINTS)]
    starts_dense, needs_dense_gradient = _habits(run, record)
    updates = len(_steps(record))
    period = max(1, round(int(str(record.facts["optimizer_steps"])) / updates)) if updates else 0
    spec = dataclasses.replace(
        network.step,
        mask_update_period_steps=period,
        regrowth_needs_dense_gradient=needs_dense_gradient and bool(period),
    )
    final = _moment(path, network, "final")
    return Course(
        kind=run.cell,
        source=f"masks of {run.run_id}",
        workload=dataclasses.replace(network, step=spec),
        final=final,
        moments=course_of(
            Moment(0.0, {}, {}) if starts_dense else points[0],
            points,
            final,
            run.sparsity.start_fraction,
            run.sparsity.end_fraction,
        ),
    )


def check(record: Record, path: Path, network: Workload, encoder: torch.nn.Module) -> None:
    """Demand that the final masks of both branches are those that the record speaks of.

    Raises:
        RecordError: the file is missing or is not the record's.
    """
    way_out = "Restore the file, or delete the folder and make the run again."
    for branch, fact in (("online", "mask_digest"), ("target", "mask_digest_target")):
        try:
            with np.load(path) as file:
                kept = {
                    layer: np.unpackbits(file[f"final/{branch}/{layer}"], count=network.layer(layer).weights)
                    for layer in masking.read(encoder)
                }
            shaped = {name: bits.reshape(network.layer(name).weight_shape) for name, bits in kept.items()}
            masking.write(encoder, {name: torch.from_numpy(bits).float() for name, bits in shaped.items()})
        except (OSError, KeyError, ValueError) as error:
            raise RecordError(f"{path}: {error}. These are not the masks of {record.run_id}. {way_out}") from error
        if masking.digest(encoder) != record.facts[fact]:
            raise RecordError(
                f"{path}: the final masks of the {branch} branch do not have the digest in {record.run_id}'s record "
                f"({fact}). {way_out}"
            )


def _moment(path: Path, network: Workload, point: str) -> Moment:
    return Moment(0.0, masks.read(path, network, point, "online"), masks.read(path, network, point, "target"))


@cache
def _traced(dense: Run) -> tuple[Workload, Any]:
    """Return the workload of all runs that differ in sparsity or seed alone, and an encoder to hold their masks."""
    with torch.random.fork_rng(devices=()):
        return workload.trace(dense, dense.framework.name), build.framework_for(dense).online


def _habits(run: Run, record: Record) -> tuple[bool, bool]:
    """Ask the method itself: does it start dense, and does it look at the dense gradient where it updates?"""
    with torch.random.fork_rng(devices=()):
        framework, method = build.framework_for(run), build.method_for(run)
        method.attach(framework.branches, int(str(record.facts["optimizer_steps"])))
    starts_dense = all(bool(mask.all()) for mask in masking.read(framework.online).values())
    steps = _steps(record)
    if steps:
        method.before_forward(steps[0])
    return starts_dense, masking.is_watched(framework.online)


def _steps(record: Record) -> list[int]:
    found = record.facts["update_steps"]
    return list(found) if isinstance(found, list) else []
