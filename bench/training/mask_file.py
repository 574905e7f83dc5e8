"""The masks that a run keeps: at which steps, and packed 8 to a byte."""

import io

import numpy as np
import torch
from torch import Tensor

from bench.config.run import Run
from bench.data.dataset import Dataset
from bench.frameworks import Framework
from methods import masking
from methods.method import GateFacts

POINTS = 5


class Snapshots:
    """Keeps masks at five points from the start to the end of the mask schedule.

    Args:
        run: the run.
        total_steps: of the run.
        window: of the method's own, as fractions of the run; ``None``: the setting's.
    """

    def __init__(self, run: Run, total_steps: int, window: tuple[float, float] | None) -> None:
        start, end = window or (run.sparsity.start_fraction, run.sparsity.end_fraction)
        self._names: dict[int, list[str]] = {}
        for index in range(POINTS):
            step = round(total_steps * (start + (end - start) * index / (POINTS - 1)))
            self._names.setdefault(min(step, max(0, total_steps - 1)), []).append(f"point{index}")

    @property
    def steps(self) -> list[int]:
        """After which steps masks are kept."""
        return list(self._names)

    def after(self, step: int, framework: Framework) -> dict[str, Tensor]:
        """Return the packed masks if this is one of the points; else nothing."""
        return {key: bits for name in self._names.get(step, ()) for key, bits in packed(name, framework).items()}


def packed(name: str, framework: Framework) -> dict[str, Tensor]:
    """Return the masks of both branches, 8 to a byte, as ``NAME/BRANCH/LAYER``."""
    bits = {}
    for branch, module in (("online", framework.online), ("target", framework.target)):
        for layer, mask in masking.read(module).items():
            flat = mask.reshape(-1).numpy(force=True).astype(bool)
            bits[f"{name}/{branch}/{layer}"] = torch.from_numpy(np.packbits(flat))
    return bits


def maps(gates: GateFacts | None, dataset: Dataset) -> dict[str, Tensor]:
    """Return gate maps as bytes, ``gates/BRANCH/LAYER``, and the images they belong to, ``gates/images``."""
    if gates is None:
        return {}
    packed_maps = {f"gates/{name}": (255 * each).round().byte().cpu() for name, each in gates.maps.items()}
    return packed_maps | {"gates/images": dataset.test.seen[: len(next(iter(packed_maps.values())))]}


def written(entries: dict[str, Tensor]) -> bytes:
    """Return the bytes of ``masks.npz``."""
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **{name: bits.numpy() for name, bits in entries.items()})
    return stream.getvalue()
