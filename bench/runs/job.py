"""One run from data to record: what a worker of the pool does."""

import datetime as dt
import hashlib
import math
import platform
import resource
import sys
import time

import torch
from lightning_fabric import Fabric

from bench import files, provenance
from bench.config.code import code_of
from bench.config.run import Run
from bench.data import dataset as data_dataset
from bench.evaluation.scored import scored
from bench.evaluation.scores import probe_for
from bench.evaluation.transfer import data_of, transferred
from bench.provenance import git_state
from bench.runs.context import Context
from bench.runs.determinism import be_deterministic
from bench.runs.folder import RunFolder
from bench.runs.record import Record
from bench.ticks import Tick
from bench.training import checkpoint, encoder_file, loop, mask_file, parts
from bench.training.compaction import median_paces
from bench.training.exported import exported
from bench.training.facts import facts
from bench.training.state import Training


def check(run: Run, dataset: data_dataset.Dataset, *, compiles: bool = False) -> None:
    """Put a run together and throw it away: what cannot be made is refused before it starts.

    Args:
        run: the run.
        dataset: its images.
        compiles: whether its encoders shall train as ``torch.compile`` translates them.

    Raises:
        RunError: with the setting that is wrong.
    """
    probe_for(run)
    parts.check(run, dataset, compiles=compiles)


def perform(run: Run, context: Context, tick: Tick) -> Record:
    """Train, evaluate and record one run; a finished part is never repeated.

    Raises:
        DataError, TrainingError, CheckpointError, ValueError, OSError: with the way out in the message.
    """
    made_by, commit = code_of(run), git_state()  # hours later other code may be checked out
    started, clock, cpu = dt.datetime.now(dt.UTC), time.monotonic(), time.process_time()
    folder = RunFolder.of(context.runs_dir, run)
    others = {  # before the training: what is missing is said at once
        name: data_dataset.load(spec, context.data_dir, context.cache_dir) for name, spec in data_of(run).items()
    }
    dataset, trained, fabric = train(run, context, tick)
    trained_cpu = time.process_time()
    ended = exported(trained, dataset.test.seen, tick)
    metrics, counts = scored(run, dataset, ended, tick)
    counts |= transferred(ended.encoder, others, tick)
    masks = trained.masks | mask_file.packed("final", trained.framework) | mask_file.maps(ended.gates, dataset)
    packed = mask_file.written(masks)
    files.write_atomically(folder.masks, packed)
    folder.encoder.unlink(missing_ok=True)  # of an earlier record that was dropped
    kept = _keep_encoder(run, folder, ended.encoder, dataset.test.size) if context.keeps_encoders else {}
    made = Record(
        run=run,
        metrics=metrics,
        facts=facts(run, dataset, trained, ended) | counts,
        provenance={
            "source_digest": made_by.digest,
            "sources": dict(made_by.files),
            # Several, where a run went on on another kind of machine: equal to no reference's, it repeats none.
            "env_class": " then ".join(trained.environments),
            "device": provenance.device(fabric.device, fabric.world_size),
            "evaluated_on": next(ended.encoder.parameters()).device.type,
            "python": platform.python_version(),
            "host": platform.node(),
            "started": started.isoformat(timespec="seconds"),
            "wall_seconds": round(time.monotonic() - clock, 2),
            "train_seconds": round(trained.seconds, 2),
            "train_cpu_seconds": round(trained.cpu_seconds, 2),
            "cpu_seconds": round(trained.cpu_seconds + time.process_time() - trained_cpu, 2),
            "startup_cpu_seconds": round(cpu, 2),
            "peak_memory_bytes": _peak_memory_bytes(),
            "step_milliseconds": None if math.isnan(trained.step_milliseconds) else round(trained.step_milliseconds, 3),
            **median_paces(trained.paces),
            "data_source": dataset.source,
            "data_verified": dataset.verified,
            "masks_sha256": hashlib.sha256(packed).hexdigest(),
        }
        | kept
        | commit,
    )
    made.save(folder.record)
    folder.checkpoint.unlink(missing_ok=True)
    return made


def train(run: Run, context: Context, tick: Tick) -> tuple[data_dataset.Dataset, Training, Fabric]:
    """Train one run; return its images, what came of it, and the devices. Of several ranks, each does this.

    Raises:
        DataError, RunError, TrainingError, CheckpointError, ValueError, OSError: with the way out in the message.
    """
    be_deterministic()
    if context.compiles:
        torch.compiler.reset()  # what earlier runs of this worker were translated into counts against a limit
    dataset = data_dataset.load(run.data, context.data_dir, context.cache_dir)
    fabric = parts.fabric_for(run, device=context.device, devices=context.devices, nodes=context.nodes)
    path = RunFolder.of(context.runs_dir, run).checkpoint
    if fabric.is_global_zero:
        checkpoint.keep_of_other_code(path, run)
        if context.restarts:
            checkpoint.discard_damaged(path)
    fabric.barrier()
    seconds = context.seconds_between_checkpoints
    trained = loop.pretrain(
        run, dataset, path, fabric=fabric, tick=tick, checkpoint_seconds=seconds, compiles=context.compiles
    )
    return dataset, trained, fabric


def _keep_encoder(run: Run, folder: RunFolder, encoder: torch.nn.Module, pixels: int) -> dict[str, object]:
    """Write the scored encoder and return what the record says about the file."""
    payload = encoder_file.packed(run, encoder, pixels=pixels)
    files.write_atomically(folder.encoder, payload)
    return {"encoder_sha256": hashlib.sha256(payload).hexdigest(), "encoder_bytes": len(payload)}


def _peak_memory_bytes() -> int:
    """Return the process's largest resident set; a worker's, not only this run's."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
