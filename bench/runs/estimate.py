"""How long a table would take here, before anything is trained: optimizer steps times measured time."""

import concurrent.futures
import contextlib
import itertools
import math
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric

from bench.config.run import Run
from bench.data import dataset
from bench.runs.context import Context
from bench.runs.determinism import be_deterministic
from bench.training import loop, parts
from bench.training.state import TrainingError

TIMED_IMAGES = 16  # of the batch that is timed on a CPU
WARM_UP_STEPS, TIMED_STEPS = 5, 20  # on a GPU; the first steps also choose kernels and fill the allocator


def steps(run: Run, train_images: int) -> int:
    """Return the optimizer steps of a run over ``train_images`` images."""
    return run.total_steps(train_images)


def hours(runs: Sequence[Run], train_images: int, *, jobs: int, pixels: int) -> float:
    """Return the wall hours of runs on the CPU of this machine with ``jobs`` one-thread workers.

    One small batch is timed per framework and encoder, and scaled to the run's batch. A sparse method costs what
    dense training costs: masks are applied, not exploited. Gates cost more than they skip: of them it is a lower bound.

    Args:
        runs: what is to be made.
        train_images: of an epoch.
        jobs: workers.
        pixels: side of the views.
    """
    timed: dict[object, float] = {}
    core_seconds = 0.0
    for run in runs:
        kind = run.framework, run.encoder
        if run.optimizer.epochs and kind not in timed:
            timed[kind] = _seconds_per_image(run, pixels)
        images = run.optimizer.batch_images * run.optimizer.accumulate_batches
        core_seconds += steps(run, train_images) * images * timed.get(kind, 0.0)
    return core_seconds / jobs / 3600


def _seconds_per_image(run: Run, pixels: int) -> float:
    """Time forward and backward of one small batch, the second of two: the first one also builds kernels.

    In CPU time, so that other programs on the machine do not make the estimate longer.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        framework = parts.framework_for(run)
        view = torch.randn(TIMED_IMAGES, 3, pixels, pixels).to(memory_format=torch.channels_last)
        labels = torch.zeros(TIMED_IMAGES, dtype=torch.int64)
        for _ in range(2):
            began = time.process_time()
            framework.loss(view, view, labels).backward()
            seconds = time.process_time() - began
    finally:
        torch.set_num_threads(threads)
    return seconds / TIMED_IMAGES


@dataclass(frozen=True, slots=True)
class Kind:
    """Runs that take the same time for a step, as far as is known.

    Attributes:
        framework: a key of the frameworks.
        encoder: name and width of the encoder.
        is_gated: whether activations are gated, which costs a multiple of a dense step.
    """

    framework: str
    encoder: str
    is_gated: bool

    @classmethod
    def of(cls, run: Run) -> "Kind":
        """Return the kind of a run."""
        encoder = f"{run.encoder.name} x {run.encoder.width:g}"
        return cls(run.framework.name, encoder, bool(run.sparsity.reduction))

    def __str__(self) -> str:
        return f"{self.framework}{' with gates' if self.is_gated else ''}"


def announced(runs: Sequence[Run], train_images: int, context: Context, *, jobs: int) -> list[str]:
    """Return a note of the GPU-hours of runs: of each kind the first run takes some steps here, alone on one GPU.

    They are taken by a process of its own, which gives the GPU back; what it trains is thrown away.

    Args:
        runs: what is to be made.
        train_images: of an epoch.
        context: where the images lie, and which device trains.
        jobs: runs at once.
    """
    first = {Kind.of(run): run for run in reversed(runs) if run.optimizer.epochs}
    if not first:
        return []
    spawn = multiprocessing.get_context("spawn")
    seconds = dict[Kind, float]()
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as one:
        for kind, run in sorted(first.items(), key=str):
            try:
                seconds[kind] = one.submit(step_seconds, run, context).result()
            except (OSError, RuntimeError, TrainingError) as error:  # a full GPU, say: the runs will tell, each alone
                return [f"GPU-hours are not known: a step of {run.cell} failed ({' '.join(str(error).split())})."]
    return [_note(runs, train_images, seconds, jobs)]


def step_seconds(run: Run, context: Context) -> float:
    """Return the median wall time of an optimizer step of a run on the context's device, views included."""
    be_deterministic()
    torch.set_num_threads(1)  # as a worker has
    images = dataset.load(run.data, context.data_dir, context.cache_dir)
    return median_step_seconds(run, images, parts.fabric_for(run, device=context.device))


def median_step_seconds(run: Run, images: dataset.Dataset, fabric: Fabric) -> float:
    """Return the median wall time of an optimizer step of a run: of so many, behind some that are not timed.

    Args:
        run: the run; if it is shorter, all its steps count.
        images: that it is trained on.
        fabric: the device.
    """
    ended = list[float]()

    def tick(done: int, _total: int, _phase: str = "training", /) -> None:
        ended.append(time.perf_counter())
        if done == WARM_UP_STEPS + TIMED_STEPS:
            raise _Enough

    with tempfile.TemporaryDirectory(prefix="sparse-ssl-timing-") as folder:
        path = Path(folder) / "checkpoint.pt"
        with contextlib.suppress(_Enough):
            loop.pretrain(run, images, path, fabric=fabric, tick=tick, checkpoint_seconds=math.inf)
    taken = [after - before for before, after in itertools.pairwise(ended)]
    return statistics.median(taken[WARM_UP_STEPS - 1 :] or taken or [0.0])


class _Enough(Exception):  # noqa: N818  # no error
    """Enough steps were timed."""


def _note(runs: Sequence[Run], train_images: int, seconds: Mapping[Kind, float], jobs: int) -> str:
    trained = [run for run in runs if run.optimizer.epochs]
    gpu_hours = sum(steps(run, train_images) * seconds[Kind.of(run)] for run in trained) / 3600
    each = ", ".join(f"{kind} {1e3 * second:.1f} ms" for kind, second in seconds.items())
    return (
        f"About {gpu_hours:,.1f} GPU-hours of training for {len(trained)} runs, {jobs} at once: steps x the median of "
        f"{TIMED_STEPS} measured here, alone on a GPU ({each}). Scoring comes on top; --cells makes a part."
    )
