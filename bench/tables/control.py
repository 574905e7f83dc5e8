"""How many steps of a dense control see smaller images, so that it takes the training MACs of a sparse row."""

import functools

import numpy as np
from numpy.typing import NDArray

from bench.config.run import EncoderSpec, Run
from bench.errors import UsageError
from bench.training import encoders
from methods import macs

CIFAR_PIXELS = 32  # side of images that are taken as they are
SHARE_DIGITS = 6  # enough to tell the steps of the longest run apart


def share_at(run: Run, ratio: float, total_steps: int) -> float:
    """Return the share of a control's steps on smaller images with which its training MACs come nearest to a ratio.

    Args:
        run: the control. What its steps cost is counted against steps on the views of the other rows.
        ratio: training MACs wanted, as a fraction of those of dense training.
        total_steps: of the run.

    Raises:
        UsageError: the ratio is out of reach, however many steps see smaller images.
    """
    reached = ratios(run, total_steps)
    if not reached[-1] <= ratio < 1.0:
        raise UsageError(
            f"{run.cell}: it shall take {ratio:.4f} of the training MACs of dense training; steps on images of "
            f"{run.views.control_pixels} pixels bring them down from 1 to {reached[-1]:.4f}. Leave it out with --cells."
        )
    return round(max(1, int(np.abs(reached - ratio).argmin())) / total_steps, SHARE_DIGITS)


def ratios(run: Run, total_steps: int) -> NDArray[np.float64]:
    """Return training MACs over those of dense training, if the first 0, 1, ... steps see the control's images.

    Returns:
        Shape (total_steps + 1,), falling.
    """
    whole = run.data.crop_size or run.data.image_size or CIFAR_PIXELS
    sides = [run.views.pixels_at(step, total_steps, as_control=False) or whole for step in range(total_steps)]
    dense = np.array([_forward_macs(run.encoder, side) for side in sides], dtype=np.int64)
    saved = dense - _forward_macs(run.encoder, run.views.control_pixels)
    reached: NDArray[np.float64] = 1.0 - np.concatenate([[0], np.cumsum(saved)]) / int(dense.sum())
    return reached


@functools.cache
def _forward_macs(spec: EncoderSpec, side: int) -> int:
    encoder, _ = encoders.build(spec)
    return sum(macs.inference_macs(encoder, (3, side, side)).values())
