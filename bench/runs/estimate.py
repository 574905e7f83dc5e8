"""How long a table would take here: optimizer steps times measured milliseconds, before anything is trained."""

import time
from collections.abc import Sequence

import torch

from bench.config.run import Run
from bench.training import parts

TIMED_IMAGES = 16


def steps(run: Run, train_images: int) -> int:
    """Return the optimizer steps of a run over ``train_images`` images."""
    return run.total_steps(train_images)


def hours(runs: Sequence[Run], train_images: int, *, jobs: int) -> float:
    """Return the wall hours of runs on this machine with ``jobs`` one-thread workers.

    One small batch is timed per framework and encoder, and scaled to the run's batch. A sparse method costs what
    dense training costs: masks are applied, not exploited. Gates cost more than they skip: of them it is a lower bound.
    """
    timed: dict[object, float] = {}
    core_seconds = 0.0
    for run in runs:
        kind = run.framework, run.encoder
        if run.optimizer.epochs and kind not in timed:
            timed[kind] = _seconds_per_image(run)
        images = run.optimizer.batch_images * run.optimizer.accumulate_batches
        core_seconds += steps(run, train_images) * images * timed.get(kind, 0.0)
    return core_seconds / jobs / 3600


def _seconds_per_image(run: Run) -> float:
    """Time forward and backward of one small batch, the second of two: the first one also builds kernels.

    In CPU time, so that other programs on the machine do not make the estimate longer.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        framework = parts.framework_for(run)
        view = torch.randn(TIMED_IMAGES, 3, 32, 32).to(memory_format=torch.channels_last)
        labels = torch.zeros(TIMED_IMAGES, dtype=torch.int64)
        for _ in range(2):
            began = time.process_time()
            framework.loss(view, view, labels).backward()
            seconds = time.process_time() - began
    finally:
        torch.set_num_threads(threads)
    return seconds / TIMED_IMAGES
