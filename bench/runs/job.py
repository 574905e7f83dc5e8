"""One run from data to record: what a worker of the pool does."""

import datetime as dt
import io
import math
import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bench.config.run import Run
from bench.data import dataset as data_dataset
from bench.evaluation import linear as evaluation_linear
from bench.runs import record
from bench.runs.record import Record
from bench.training import loop, parts
from bench.views.recipes import normalise


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where a run finds its images and leaves its record. Changes no number, so it is not part of ``Run``.

    Attributes:
        runs_dir: holds a folder RUN_ID per run, with ``record.json``, ``masks.npz`` and ``checkpoint.pt``.
        data_dir: where the images lie.
        cache_dir: decoded images.
        checkpoint_seconds: wall time between two checkpoints.
        accelerator: ``cpu``, ``cuda`` or ``auto``.
    """

    runs_dir: Path
    data_dir: Path
    cache_dir: Path
    checkpoint_seconds: float = 10.0
    accelerator: str = "cpu"


def record_path(runs_dir: Path, run_id: str) -> Path:
    """Return where a run's record lies."""
    return runs_dir / run_id / "record.json"


def masks_path(runs_dir: Path, run_id: str) -> Path:
    """Return where a run's packed masks and gate maps lie."""
    return runs_dir / run_id / "masks.npz"


def perform(run: Run, context: Context, tick: loop.Tick) -> Record:
    """Train, evaluate and record one run; a finished part is never repeated.

    Raises:
        DataError, TrainingError, CheckpointError, ValueError, OSError: with the way out in the message.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, CUDA refuses deterministic algorithms
    torch.use_deterministic_algorithms(mode=True)
    # The mode also fills every new tensor with NaN, to show reads of memory nobody wrote: a sixth of a step here.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    started, clock, cpu = dt.datetime.now(dt.UTC), time.monotonic(), time.process_time()
    folder = record_path(context.runs_dir, run.run_id).parent
    dataset = data_dataset.load(run.data, context.data_dir, context.cache_dir)
    fabric = parts.fabric_for(run, accelerator=context.accelerator)
    trained = loop.pretrain(
        run,
        dataset,
        folder / "checkpoint.pt",
        fabric=fabric,
        tick=tick,
        checkpoint_seconds=context.checkpoint_seconds,
    )
    trained_cpu = time.process_time()
    metrics, scores = _scores(run, dataset, trained.encoder, trained.features)
    if trained.target is not None:
        is_one = trained.target is trained.encoder
        of_target = metrics if is_one else _scores(run, dataset, trained.target, None)[0]
        scores |= {f"{name}_target": percent for name, percent in of_target.items()}
    made = Record(
        run_id=run.run_id,
        run=record.plain(run),
        metrics=metrics,
        facts=trained.facts | scores,
        provenance={
            "source_digest": record.source_digest(),
            "env_class": parts.env_class_for(run, fabric),
            "python": platform.python_version(),
            "host": platform.node(),
            "started": started.isoformat(timespec="seconds"),
            "wall_seconds": round(time.monotonic() - clock, 2),
            "train_cpu_seconds": round(trained.cpu_seconds, 2),
            "cpu_seconds": round(
                trained.cpu_seconds + trained.measuring_cpu_seconds + time.process_time() - trained_cpu, 2
            ),
            "startup_cpu_seconds": round(cpu, 2),
            "peak_memory_bytes": _peak_memory_bytes(),
            "step_milliseconds": None if math.isnan(trained.step_milliseconds) else round(trained.step_milliseconds, 3),
            "data_source": dataset.source,
            "data_verified": dataset.verified,
        }
        | git_state(),
    )
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **{name: bits.numpy() for name, bits in trained.masks.items()})
    record.write_atomically(masks_path(context.runs_dir, run.run_id), packed.getvalue())
    made.save(folder / "record.json")
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return made


def _scores(
    run: Run, dataset: data_dataset.Dataset, encoder: torch.nn.Module, queries: torch.Tensor | None
) -> tuple[dict[str, float], dict[str, object]]:
    """Return the percentages and the counts behind them; ``queries``: features of the scored images, if known."""
    spec = run.evaluation
    bank = evaluation_linear.features(encoder, dataset.train.images, normalise=normalise)
    if queries is None:
        queries = evaluation_linear.features(encoder, dataset.test.images, normalise=normalise)
    labels = dataset.train.labels, dataset.test.labels
    neighbours = evaluation_linear.knn(
        bank, labels[0], queries, labels[1], neighbours=spec.knn_neighbours, temperature=spec.knn_temperature
    )
    if spec.probe == "sgd":
        protocol = evaluation_linear.SGD_PROTOCOL
        linear = evaluation_linear.sgd_probe(encoder, dataset.train, queries, labels[1], seed=run.seed)
    else:
        protocol = evaluation_linear.LBFGS_PROTOCOL
        linear = evaluation_linear.linear_probe(bank, labels[0], queries, labels[1])
    total = len(queries)
    metrics = {"knn_top1_percent": 100 * neighbours / total, "linear_top1_percent": 100 * linear / total}
    counts: dict[str, object] = {
        "knn_correct": neighbours,
        "linear_correct": linear,
        "test_images": total,
        "knn_protocol": evaluation_linear.KNN_PROTOCOL,
        "linear_protocol": protocol,
    }
    return metrics, counts


def _peak_memory_bytes() -> int:
    """Return the process's largest resident set; a worker's, not only this run's."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def git_state() -> dict[str, object]:
    """Return the commit the code lies at and whether tracked files differ from it; unknown outside a checkout."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {
            "git_commit": commit,
            "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": "unknown", "git_dirty": True}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(record.ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603
