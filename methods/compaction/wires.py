"""The maps of an encoder, from the image to the features, and which layer makes which: found by tracing it."""

import operator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional


class Kind(Enum):
    """What makes a map of others."""

    IMAGE = "image"
    CONVOLUTION = "convolution"
    NORMALISATION = "normalisation"
    RELU = "relu"
    SAME = "channels stay apart, constants stay constant"
    SUM = "sum"
    FEATURES = "features"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A map that one layer makes and others read.

    Attributes:
        kind: of what makes it.
        path: of the layer; empty where a function makes it.
        reads: places of the maps that it is made of, in the list of all.
    """

    kind: Kind
    path: str
    reads: tuple[int, ...]


_MODULES: dict[type[nn.Module], Kind] = {
    nn.Conv2d: Kind.CONVOLUTION,
    nn.BatchNorm2d: Kind.NORMALISATION,
    nn.ReLU: Kind.RELU,
    nn.Identity: Kind.SAME,
    nn.MaxPool2d: Kind.SAME,  # pads with what is below everything
    nn.AdaptiveAvgPool2d: Kind.SAME,
    nn.Flatten: Kind.SAME,  # of maps of one pixel
    nn.Linear: Kind.FEATURES,
}
_FUNCTIONS: dict[object, Kind] = {
    functional.relu: Kind.RELU,
    torch.relu: Kind.RELU,
    operator.add: Kind.SUM,
    operator.iadd: Kind.SUM,
    torch.add: Kind.SUM,
    functional.avg_pool2d: Kind.SAME,  # without padding
    functional.adaptive_avg_pool2d: Kind.SAME,
    torch.flatten: Kind.SAME,
}
_SIZES = {getattr, operator.getitem}  # of maps: numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """What a forward pass of an encoder does.

    Attributes:
        nodes: the calls of the pass in their order, without the output.
        places: of each call that makes a map: the place of the map in ``wires``; other calls make numbers.
        wires: all maps in the order in which they are made; the last one is the encoder's output.
    """

    nodes: list[fx.Node]
    places: dict[fx.Node, int]
    wires: list[Wire]


def wires(encoder: nn.Module) -> list[Wire]:
    """Return all maps of an encoder in the order in which they are made; the last one is its output.

    Raises:
        ValueError: as ``traced``.
    """
    return traced(encoder).wires


def traced(encoder: nn.Module) -> Traced:
    """Return what a forward pass does, call by call.

    Raises:
        ValueError: the encoder cannot be traced, or has a layer whose channels nobody here knows to follow.
    """
    try:
        graph = _Tracer().trace(encoder)
    except (fx.proxy.TraceError, TypeError) as error:
        raise ValueError(f"the encoder cannot be traced: {error}. Only plain networks can be compacted.") from error
    found: list[Wire] = []
    nodes: list[fx.Node] = []
    places: dict[fx.Node, int] = {}
    seen: set[str] = set()
    for node in graph.nodes:
        if node.op == "output":
            break
        nodes.append(node)
        if node.op == "call_function" and node.target in _SIZES:
            continue
        kind, path = _kind(encoder, node), str(node.target) if node.op == "call_module" else ""
        if path in seen and next(encoder.get_submodule(path).parameters(), None) is not None:
            raise ValueError(f"{path} is used twice: its channels cannot be removed for one use alone. Keep it whole.")
        seen |= {path} if path else set()
        places[node] = len(found)
        inputs = [each for each in node.all_input_nodes if each in places]
        reads = [places[each] for each in (inputs if kind is Kind.SUM else inputs[:1])]
        found.append(
            Wire(kind=kind, path=path, reads=tuple(reads * 2 if kind is Kind.SUM and len(reads) == 1 else reads))
        )
    return Traced(nodes=nodes, places=places, wires=found)


def _kind(encoder: nn.Module, node: fx.Node) -> Kind:
    if node.op == "placeholder":
        return Kind.IMAGE
    if node.op == "call_module":
        module = encoder.get_submodule(str(node.target))
        for base, kind in _MODULES.items():
            if isinstance(module, base):
                return kind
        raise ValueError(f"{node.target}: {type(module).__name__} is no layer whose channels can be followed.")
    if node.op == "call_function" and node.target in _FUNCTIONS:
        return _FUNCTIONS[node.target]
    raise ValueError(f"{node.target} is no function whose channels can be followed. Only plain networks are compacted.")


class _Tracer(fx.Tracer):
    """Looks into everything but the layers that are known."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        leaf: Any = super().is_leaf_module(m, module_qualified_name)
        return bool(leaf) or isinstance(m, tuple(_MODULES))
