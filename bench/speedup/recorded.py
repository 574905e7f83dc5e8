"""Rows from real runs: their masks at the end and at five points of the schedule, checked against their records.

Of runs with gates, the rate of each layer and branch on all test images, from the record.
"""

import dataclasses
import fnmatch
import hashlib
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch

from bench.config.run import Run
from bench.config.sparsity import SparsitySpec
from bench.runs.folder import RunFolder
from bench.runs.record import Record, RecordError
from bench.speedup import trace
from bench.speedup.timeline import POINTS, Course, Moment, States, course_of, periods_of
from bench.training import parts
from hardware.network import masks
from hardware.network.workload import Workload
from hardware.sparsity.gates import GateRate
from hardware.sparsity.state import State
from methods import GATES, masking
from methods.gating.convolution import GatedConv2d
from methods.gating.layer import gated
from methods.works import WORKS


def courses(runs_dir: Path, cells: str) -> Iterator[Course]:
    """Yield a row per cell whose name matches: its run of the lowest seed.

    Raises:
        RecordError: a record or its masks cannot be trusted; the message names the file and the way out.
    """
    chosen: dict[Run, tuple[Run, Record, Path]] = {}
    for folder in RunFolder.recorded(runs_dir):
        record = Record.load(folder.record)
        run, key = record.run, dataclasses.replace(record.run, seed=0)
        if fnmatch.fnmatchcase(run.cell, cells) and (key not in chosen or run.seed < chosen[key][0].seed):
            chosen[key] = (run, record, folder.masks)
    for run, record, path in chosen.values():
        if run.sparsity.method not in NOT_TRAINED | NOT_MODELLED | DENSE_GRADIENTS and record.facts["optimizer_steps"]:
            yield course(run, record, path)


def left_out(runs_dir: Path, cells: str) -> tuple[str, ...]:
    """Return a note on the cells whose runs are no rows, if there are any."""
    runs = [Record.load(folder.record).run for folder in RunFolder.recorded(runs_dir)]
    reasons = {
        "the machines skip what a gate per pixel and slice of output channels closes, and these gates are others": (
            NOT_MODELLED
        ),
        "the machines compute the gradient of pruned weights at mask updates, and these need it in every step": (
            DENSE_GRADIENTS
        ),
    }
    notes = []
    for why, methods in reasons.items():
        found = sorted({run.cell for run in runs if run.sparsity.method in methods})
        if matching := fnmatch.filter(found, cells):
            notes.append(f"Not in the table: {', '.join(matching)}: {why}.")
    if idle := fnmatch.filter(sorted(_idle(runs_dir)), cells):
        notes.append(f"Not in the table: {', '.join(idle)}: a run without a step has none that costs anything.")
    return tuple(notes)


def _idle(runs_dir: Path) -> set[str]:
    """Return the cells of trained methods of which a run took no step."""
    records = (Record.load(folder.record) for folder in RunFolder.recorded(runs_dir))
    return {
        record.run.cell
        for record in records
        if not record.facts["optimizer_steps"] and record.run.sparsity.method not in NOT_TRAINED
    }


NOT_TRAINED = {"untrained"}  # takes no step, so no step costs anything
# Whole channels of an image, groups of inputs, pixels of all channels in a mask dilated for the next layer.
NOT_MODELLED = {"feature_boosting", "group_gate", "spatial_gate"}
# The gradient of every weight in every step: machines are asked for it at mask updates alone.
DENSE_GRADIENTS = {name for name, work in WORKS.items() if work.skips and "weights" not in work.skips}
RATES = "gate_rate_per_layer"  # a fact of records; that of the target has a suffix


def course(run: Run, record: Record, path: Path) -> Course:
    """Return the row of one run.

    Raises:
        RecordError: the masks are not those of the record.
    """
    network = _traced(dataclasses.replace(run, seed=0, sparsity=SparsitySpec(method="dense")))
    encoder, habits = _habits(run, record)
    check(record, path, encoder)
    if run.sparsity.method in GATES:
        moment = Moment(1.0, _gated(encoder, record, RATES), _gated(encoder, record, f"{RATES}_target"))
        return Course(
            kind=run.cell,
            source=f"gate rates of {run.run_id}, on its test images, taken for the whole run; gates independent",
            workload=network,
            regrows=False,
            final=moment,
            moments=(moment,),
        )
    points = [_moment(path, network, f"point{index}") for index in range(POINTS)]
    final = _moment(path, network, "final")
    window = habits.window or (run.sparsity.start_fraction, run.sparsity.end_fraction)
    return Course(
        kind=run.cell,
        source=f"masks of {run.run_id}",
        workload=network,
        regrows=habits.regrows,
        final=final,
        moments=course_of(
            Moment(0.0, {}, {}) if habits.starts_dense else points[0],
            points,
            final,
            *window,
            periods_of(_steps(record), int(str(record.facts["optimizer_steps"])), *window),
        ),
    )


def _gated(encoder: torch.nn.Module, record: Record, fact: str) -> States:
    """Return the gates of each layer, from the rates in the record.

    Raises:
        RecordError: the rates are missing, or of other layers.
    """
    rates = record.facts.get(fact)
    layers = {path: layer for path, layer in gated(encoder).items() if isinstance(layer, GatedConv2d)}
    if not isinstance(rates, dict) or rates.keys() != layers.keys():
        raise RecordError(f"{record.run_id}: {fact} is not there for each gated layer. Make the run again.")
    return {
        path: State(gate=GateRate(rates[path], 1 / layer.groups, layer.gate.slice_channels))
        for path, layer in layers.items()
    }


def check(record: Record, path: Path, encoder: torch.nn.Module) -> None:
    """Demand that the file of masks, of every point of the schedule, is the one that the record speaks of.

    Raises:
        RecordError: the file is missing or is not the record's.
    """
    way_out = "Restore the file, or delete the folder and make the run again."
    expected = record.provenance.get("masks_sha256")
    if expected is not None and path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        raise RecordError(f"{path}: its SHA-256 is not that in {record.run_id}'s record. {way_out}")
    for branch, fact in (("online", "mask_digest"), ("target", "mask_digest_target")):
        try:
            with np.load(path) as file:
                kept = {
                    layer: np.unpackbits(file[f"final/{branch}/{layer}"], count=mask.numel()).reshape(mask.shape)
                    for layer, mask in masking.read(encoder).items()
                }
            masking.write(encoder, {name: torch.from_numpy(bits).float() for name, bits in kept.items()})
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise RecordError(f"{path}: {error}. These are not the masks of {record.run_id}. {way_out}") from error
        if masking.digest(encoder) != record.facts[fact]:
            raise RecordError(
                f"{path}: the final masks of the {branch} branch do not have the digest in {record.run_id}'s record "
                f"({fact}). {way_out}"
            )


def _moment(path: Path, network: Workload, point: str) -> Moment:
    return Moment(0.0, masks.read(path, network, point, "online"), masks.read(path, network, point, "target"))


@cache
def _traced(dense: Run) -> Workload:
    """Return the workload of all runs that differ in sparsity or seed alone."""
    with torch.random.fork_rng(devices=()):
        return trace.trace(dense, dense.framework.name)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What a method does: whether it starts dense, looks at the dense gradient where it updates, has its own window."""

    starts_dense: bool
    regrows: bool
    window: tuple[float, float] | None


def _habits(run: Run, record: Record) -> tuple[torch.nn.Module, Habits]:
    """Ask the method itself; return the encoder, too, with the masks or gates that it installed."""
    with torch.random.fork_rng(devices=()):
        framework, method = parts.framework_for(run), parts.method_for(run)
        method.attach(framework.branches, int(str(record.facts["optimizer_steps"])))
    starts_dense = all(bool(mask.all()) for mask in masking.read(framework.online).values())
    steps = _steps(record)
    if steps and run.sparsity.method not in GATES:  # gates have rates, no dense gradients
        method.before_forward(steps[0])
    return framework.online, Habits(
        starts_dense=starts_dense, regrows=masking.is_watched(framework.online), window=method.window
    )


def _steps(record: Record) -> list[int]:
    found = record.facts["update_steps"]
    return list(found) if isinstance(found, list) else []
