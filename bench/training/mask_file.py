"""The masks that a run keeps: at which steps, and packed 8 to a byte."""

import numpy as np
import torch
from torch import Tensor

from bench.config.run import Run
from bench.frameworks import Framework
from methods import masking


def mask_points(run: Run, total_steps: int) -> dict[int, list[str]]:
    """Return after which steps masks are kept: at five points from the start to the end of the mask schedule."""
    start, end = run.sparsity.start_fraction, run.sparsity.end_fraction
    points: dict[int, list[str]] = {}
    for index in range(5):
        step = round(total_steps * (start + (end - start) * index / 4))
        points.setdefault(min(step, max(0, total_steps - 1)), []).append(f"point{index}")
    return points


def packed(name: str, framework: Framework) -> dict[str, Tensor]:
    """Return the masks of both branches, 8 to a byte, as ``NAME/BRANCH/LAYER``."""
    bits = {}
    for branch, module in (("online", framework.online), ("target", framework.target)):
        for layer, mask in masking.read(module).items():
            flat = mask.reshape(-1).numpy(force=True).astype(bool)
            bits[f"{name}/{branch}/{layer}"] = torch.from_numpy(np.packbits(flat))
    return bits
