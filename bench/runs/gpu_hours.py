"""How many GPU-hours runs of the papers' size would take: an estimate, made without a GPU.

Steps times the milliseconds of a step that were measured once (``results/gpu.md``): ResNet-18 of full width, 32 x 32
pixels, batches of 256, two views, float32, one process on one NVIDIA H200. Views that are made on the CPU, scoring and
a slower GPU come on top.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.config.run import UNTRAINED, Run
from bench.data.known import known_content

IMAGES = 256  # of the batches that were measured
_ENCODER = ("resnet-18", 1.0, "cifar")  # the encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Milliseconds:
    """What a step of so many images takes: dense, with masks, and with gates."""

    dense: float
    masked: float
    gated: float

    def of(self, run: Run) -> float:
        """Return what a step of a run takes, be its batches of that size."""
        if run.sparsity.reduction:
            return self.gated
        return self.dense if run.sparsity.density == 1.0 else self.masked


H200 = Milliseconds(dense=38.4, masked=48.7, gated=128.2)  # simclr/dense, simclr/synchronized, simclr/dual_gate


def gpu_hours(runs: Iterable[Run], step: Milliseconds = H200) -> float | None:
    """Return the hours of all runs on one GPU, one after the other; None where no step like theirs was measured.

    Args:
        runs: what is made.
        step: what steps take.
    """
    hours = 0.0
    for run in runs:
        known = known_content(run.data.name)
        encoder = run.encoder
        if known is None or (encoder.name, encoder.width, encoder.stem) != _ENCODER:
            return None
        if run.sparsity.method != UNTRAINED:
            images = (run.data.train_images or known.train_images) - run.data.held_out_images
            batch = run.optimizer.batch_images * run.optimizer.accumulate_batches
            hours += run.total_steps(images) * step.of(run) * batch / IMAGES / 3_600_000
    return hours
