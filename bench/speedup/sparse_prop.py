"""Another's tool on single zeros, where it is installed: SparseProp (Nikdan et al., ICML 2023), on a CPU."""

import copy
import functools
import importlib
import importlib.metadata
import importlib.util
import os
import time
from typing import Any

import torch
from torch import Tensor, nn

from methods.gating.layer import replace

PEER, _PACKAGE = "SparseProp", "sparseprop"
_INSTALL = "pip install setuptools wheel pybind11 && pip install --no-build-isolation sparseprop"
_VECTOR = 8  # images: its kernel over the batch gives wrong sums for batches that do not divide by so many
_TRIES, _HOPELESS = 2, 2.0


@functools.cache
def missing() -> str:
    """Return why the peer is skipped; nothing where it is not."""
    if importlib.util.find_spec(_PACKAGE) is None:
        return f"{PEER}: skipped, because {_PACKAGE} is not installed here: {_INSTALL}"
    os.environ["OMP_NUM_THREADS"] = "1"  # its library has an OpenMP of its own, which asks once, when it is loaded
    try:
        importlib.import_module(_PACKAGE)
    except ImportError as error:
        return f"{PEER}: skipped, because {_PACKAGE} is installed but does not load: {error}"
    return ""


def version() -> str:
    """Return the peer's name and version."""
    return f"{PEER} {importlib.metadata.version(_PACKAGE)}"


class Propagated(nn.Module):
    """A convolution that the peer computes; on batches that its kernel cannot take, the dense one.

    Args:
        dense: with its zeros.
        sparse: the peer's.
        is_over_batch: whether the peer's kernel takes several images at once.
    """

    def __init__(self, dense: nn.Conv2d, sparse: nn.Module, *, is_over_batch: bool) -> None:
        super().__init__()
        self.dense, self.sparse, self._is_over_batch = dense, sparse, is_over_batch

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[N, out_channels, H', W']``."""
        is_sparse = not self._is_over_batch or len(images) % _VECTOR == 0
        found: Tensor = self.sparse(images) if is_sparse else self.dense(images)
        return found


def propagated(encoder: nn.Module, images: Tensor, *, trains: bool) -> tuple[nn.Module, str]:
    """Return a copy in which the peer computes the layers that it is faster at, and how many these are.

    The peer's own choice is a single run of each way by the wall clock; here the quickest of two, in CPU time, counts.

    Args:
        encoder: plain, with zeros baked in.
        images: a batch, ``[N, C, H, W]``; ways are compared at its size.
        trains: whether the backward pass is to be fast, too.
    """
    made = copy.deepcopy(encoder)
    layers = {path: each for path, each in made.named_modules() if isinstance(each, nn.Conv2d)}
    seen: dict[str, Tensor] = {}
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs, path=path: seen.update({path: inputs[0]}))
        for path, layer in layers.items()
        if bool((layer.weight == 0).any())
    ]
    with torch.no_grad():
        made.eval()(images)
    for handle in handles:
        handle.remove()
    replaced = 0
    for path, inputs in seen.items():
        fastest = _fastest(layers[path], inputs, trains=trains)
        replaced += fastest is not layers[path]
        replace(made, path, fastest)
    return made, f"{PEER} in the {replaced} of {len(seen)} layers at which it is faster than dense"


def _fastest(dense: nn.Conv2d, inputs: Tensor, *, trains: bool) -> nn.Module:
    peer: Any = importlib.import_module(f"{_PACKAGE}.modules")
    _seconds(dense, inputs, trains=trains)  # builds its kernel
    fastest: tuple[nn.Module, float] = (dense, _seconds(dense, inputs, trains=trains))
    for is_over_columns in (True, False):
        sparse = peer.SparseConv2d.from_dense(dense, is_over_columns)
        way = Propagated(dense, sparse, is_over_batch=not is_over_columns)
        seconds = _seconds(way, inputs, trains=trains, most=_HOPELESS * fastest[1])
        fastest = min(fastest, (way, seconds), key=lambda each: each[1])
    return fastest[0]


def _seconds(way: nn.Module, inputs: Tensor, *, trains: bool, most: float = float("inf")) -> float:
    """Return the CPU seconds of the quickest run; no second one where the first takes the most or more."""
    found: list[float] = []
    while len(found) < _TRIES and min(found, default=0.0) < most:
        began = time.thread_time()
        with torch.set_grad_enabled(trains):
            made = way(inputs.detach().requires_grad_(trains))
            if trains:
                made.sum().backward()
        found.append(time.thread_time() - began)
    way.zero_grad(set_to_none=True)
    return min(found)
