"""Another's tool on the same zeros, where it is installed: Torch-Pruning (Fang et al., CVPR 2023)."""

import copy
import importlib
import importlib.metadata
import importlib.util
from typing import Any

import torch
from torch import Tensor, nn

from methods.compaction import folded

PEER, _PACKAGE, _PIP = "Torch-Pruning", "torch_pruning", "torch-pruning"


def missing() -> str:
    """Return why the peer is skipped; nothing where it is not."""
    if importlib.util.find_spec(_PACKAGE) is not None:
        return ""
    return f"{PEER}: skipped, because {_PACKAGE} is not installed here: pip install {_PIP}"


def version() -> str:
    """Return the peer's name and version."""
    return f"{PEER} {importlib.metadata.version(_PIP)}"


@torch.no_grad()
def torch_pruned(encoder: nn.Module, images: Tensor) -> nn.Module:
    """Return a copy out of which Torch-Pruning has taken the filters that are zero.

    Where shortcuts couple layers, it takes the channels that are zero in all of them. It leaves out what normalisation
    makes of a filter that is gone, and features that are gone, so that the encoder does not compute quite the same.
    Its normalisations are as in ours: folded into the convolutions.

    Args:
        encoder: plain, with zeros baked in.
        images: that it is traced with.
    """
    peer: Any = importlib.import_module(_PACKAGE)
    made = copy.deepcopy(encoder).eval()
    with torch.enable_grad():
        graph = peer.DependencyGraph().build_dependency(made, example_inputs=images[:1])
    for conv in [module for module in made.modules() if isinstance(module, nn.Conv2d)]:
        dead = set(_dead(conv))
        for dependency, places in graph.get_pruning_group(conv, peer.prune_conv_out_channels, idxs=sorted(dead)):
            other = dependency.target.module
            if graph.is_out_channel_pruning_fn(dependency.handler) and isinstance(other, nn.Conv2d):
                dead &= set(places) & set(_dead(other))  # sums couple channels of the same place
        group = graph.get_pruning_group(conv, peer.prune_conv_out_channels, idxs=sorted(dead))
        if dead and graph.check_pruning_group(group):
            group.prune()
    return folded(made)


def _dead(conv: nn.Conv2d) -> list[int]:
    """Return the filters that are zero."""
    found: list[int] = (conv.weight.flatten(1) == 0).all(1).nonzero().flatten().tolist()
    return found
