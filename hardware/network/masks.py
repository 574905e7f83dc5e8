"""Masks of real runs: ``masks.npz`` with entries ``POINT/BRANCH/LAYER``, eight weights to a byte."""

import zipfile
from pathlib import Path

import numpy as np

from hardware.checks import HardwareError
from hardware.network.layer import LayerSpec
from hardware.network.workload import Workload
from hardware.sparsity.state import State
from hardware.sparsity.weights import Mask


def read(path: Path, workload: Workload, point: str, branch: str) -> dict[str, State]:
    """Return the states of the masked layers. A layer that kept every weight is dense and not among them.

    Args:
        path: of the file.
        workload: the network that the masks belong to.
        point: of the schedule, such as ``final``.
        branch: ``online`` or ``target``.

    Raises:
        HardwareError: if the file cannot be read, holds nothing for point and branch, or masks of another network.
    """
    prefix = f"{point}/{branch}/"
    try:
        with np.load(path) as file:
            packed = {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}
            points = sorted({name.partition("/")[0] for name in file.files})
    except (OSError, EOFError, TypeError, AttributeError, ValueError, zipfile.BadZipFile) as error:
        raise HardwareError(f"{path}: {error}. Give a masks.npz of a run.") from error
    if not packed:
        raise HardwareError(f"{path} has no masks {prefix}*; its points are {', '.join(points)}.")
    states = {}
    for name, bits in packed.items():
        mask = _unpacked(bits, workload.layer(name), f"{path}: {prefix}{name}")
        if not mask.kept.all():
            states[name] = State(mask)
    return states


def _unpacked(bits: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], layer: LayerSpec, where: str) -> Mask:
    if bits.dtype != np.uint8 or bits.shape != (-(-layer.weights // 8),):
        raise HardwareError(
            f"{where}: {bits.dtype} of shape {bits.shape} cannot hold {layer.weights} packed weights of shape "
            f"{layer.weight_shape}. Give the masks of this network."
        )
    flat = np.unpackbits(bits, count=layer.weights).astype(np.bool_)
    return Mask(flat.reshape(layer.weight_shape))
