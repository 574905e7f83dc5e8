"""How many GPU-hours runs of the papers' size would take: an estimate, made without a GPU.

Steps times the milliseconds of a step that were measured once (``results/gpu.md``): ResNet-18 of full width, 32 x 32
pixels, batches of 256, two views, float32, one process on one NVIDIA H200. Views that are made on the CPU, scoring and
a slower GPU come on top.
"""

from collections.abc import Iterable

from bench.config.run import UNTRAINED, Run
from bench.data.known import known_content

_IMAGES, _ENCODER = 256, ("resnet-18", 1.0, "cifar")  # what was measured
_DENSE_MS, _MASKED_MS, _GATED_MS = 38.4, 48.7, 128.2  # simclr/dense, simclr/synchronized, simclr/dual_gate


def gpu_hours(runs: Iterable[Run]) -> float | None:
    """Return the hours of all runs on one GPU, one after the other; None where no step like theirs was measured."""
    hours = 0.0
    for run in runs:
        known = known_content(run.data.name)
        encoder = run.encoder
        if known is None or (encoder.name, encoder.width, encoder.stem) != _ENCODER:
            return None
        if run.sparsity.method != UNTRAINED:
            images = (run.data.train_images or known.train_images) - run.data.held_out_images
            batch = run.optimizer.batch_images * run.optimizer.accumulate_batches
            hours += run.total_steps(images) * _milliseconds(run) * batch / _IMAGES / 3_600_000
    return hours


def _milliseconds(run: Run) -> float:
    """Return the milliseconds of a step of 256 images."""
    if run.sparsity.reduction:
        return _GATED_MS
    return _DENSE_MS if run.sparsity.density == 1.0 else _MASKED_MS
