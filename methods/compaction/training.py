"""Train on without the filters that are gone for good: the same losses and gradients, up to rounding, in fewer steps.

Parameters, buffers, masks, and with them the optimizer, an EMA target and checkpoints, keep their full shape. What gets
smaller is the forward pass, and through it the backward pass: layers run on the channels whose filters act. What the
others are in the masked network is known, because their filters are zero:

- behind a convolution: its bias, or 0;
- behind batch normalisation in training mode: the shift. The batch's mean and variance of a constant are the constant
  and 0. The shift is trained: it stays a part of the graph. The scale has no gradient. Running statistics move towards
  the constant and 0, also without being computed;
- what a convolution reads of such constants is the same for all images: one pass over a single image of ones, with the
  weights that read them, times the constants, summed. (At the borders, padding takes part of it away, so that it is no
  bias.) Constants and weights get their gradients through it;
- behind ReLU, pooling and sums: what these make of constants.

Source: ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from methods import masking
from methods.compaction.computed import Computed
from methods.compaction.wires import Kind, traced


@dataclass(slots=True, kw_only=True)
class _Map:
    """A map of some channels.

    Attributes:
        values: ``[B, K, ...]``: of the channels that are computed.
        constant: ``[C]``: the value of each other channel; ``None`` where all channels are computed.
        is_rectified: the constants come from a ReLU, so that one which is 0 has no gradient.
    """

    values: Tensor
    constant: Tensor | None = None
    is_rectified: bool = False


class CompactForward:
    """The forward pass of a masked encoder, in training mode, without the filters that its masks have removed.

    Args:
        encoder: with masks that are not written any more.

    Raises:
        ValueError: the encoder cannot be traced, or has a layer whose channels nobody here knows to follow.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._encoder = encoder
        self._version = masking.version(encoder)
        self._traced = traced(encoder)
        self._computed = Computed.of(encoder, self._traced.wires)
        masks, like = masking.read(encoder), next(encoder.parameters())
        kept = [each.to(like.device) for each in self._computed.kept]
        self._layers: dict[int, Callable[[_Map], _Map]] = {}
        self._spreads: dict[int, _Spread] = {}
        for place, wire in enumerate(self._traced.wires):
            layer = encoder.get_submodule(wire.path) if wire.path else None
            if isinstance(layer, nn.Conv2d):
                before = kept[wire.reads[0]]
                self._layers[place] = _Convolution(layer, masks.get(wire.path), kept[place], before)
            elif isinstance(layer, nn.BatchNorm2d):
                self._layers[place] = _Normalisation(wire.path, layer, kept[place])
            elif isinstance(layer, nn.Linear):
                self._layers[place] = _Features(layer, _Spread.whole(kept[wire.reads[0]], like))
        for place, whole in self._computed.branches.items():
            self._spreads[place] = _Spread(kept[place], whole.to(like.device), like)
        self._whole = _Spread.whole(kept[-1], like)

    def macs(self, dense: Mapping[str, int]) -> int:
        """Return the multiply-accumulates of an image, what puts channels in their places included.

        Args:
            dense: of each layer of the whole encoder, by its path.
        """
        wires, kept, total = self._traced.wires, self._computed.kept, 0
        pixels = [1] * len(wires)
        for place, wire in enumerate(wires):
            pixels[place] = pixels[wire.reads[0]] if wire.reads else 1
            layer = self._encoder.get_submodule(wire.path) if wire.path else None
            if isinstance(layer, nn.Conv2d):
                pixels[place] = dense[wire.path] // layer.weight.numel()
                per_pixel = layer.weight[0, 0].numel() * int(kept[place].sum()) * int(kept[wire.reads[0]].sum())
                total += pixels[place] * per_pixel // layer.groups
            elif isinstance(layer, nn.Linear):
                total += dense[wire.path]
            if place in self._computed.branches:
                total += pixels[place] * int(kept[place].sum()) * int(self._computed.branches[place].sum())
        return total + (0 if kept[-1].all() else int(kept[-1].sum()) * len(kept[-1]))

    def engage(self) -> None:
        """Let the encoder compute so from now on."""
        self._encoder.__dict__["forward"] = self

    def release(self) -> None:
        """Let the encoder compute as before."""
        self._encoder.__dict__.pop("forward", None)

    def __call__(self, images: Tensor) -> Tensor:
        """Return features ``[B, F]`` of images ``[B, 3, H, W]``; in evaluation mode those of the whole encoder.

        Raises:
            RuntimeError: masks were written since this was made.
        """
        encoder = self._encoder
        if not encoder.training:
            features: Tensor = type(encoder).forward(encoder, images)
            return features
        if masking.version(encoder) != self._version:
            raise RuntimeError("masks were written after the filters that they remove had been taken out.")
        made: dict[fx.Node, _Map | object] = {}
        for node in self._traced.nodes:
            made[node] = self._made(node, made, images)
        found = made[self._traced.nodes[-1]]
        assert isinstance(found, _Map)
        return self._whole(found).values

    def _made(self, node: fx.Node, made: dict[fx.Node, "_Map | object"], images: Tensor) -> "_Map | object":
        """Return what one call makes of what others have made."""
        place = self._traced.places.get(node)
        if place is None:
            return _called(node, made)
        wire = self._traced.wires[place]
        if wire.kind is Kind.IMAGE:
            return _Map(values=images)
        maps = [each for each in (made[read] for read in node.all_input_nodes) if isinstance(each, _Map)]
        first = maps[0]
        if place in self._layers:
            found = self._layers[place](first)
        elif wire.kind is Kind.SUM:
            found = _sum(first, maps[-1])
        elif wire.kind is Kind.RELU:
            constant = None if first.constant is None else functional.relu(first.constant)
            found = _Map(values=functional.relu(first.values), constant=constant, is_rectified=True)
        else:
            called = self._encoder.get_submodule(wire.path)(first.values) if wire.path else _called(node, made)
            assert isinstance(called, Tensor)
            if called.shape[1] != first.values.shape[1]:
                raise ValueError(f"{node.name}: maps of several pixels are made features: their channels get mixed.")
            found = _Map(values=called, constant=first.constant, is_rectified=first.is_rectified)
        return self._spreads[place](found) if place in self._spreads else found


class _Convolution:
    """A convolution of the channels that are computed, for the filters that are."""

    def __init__(self, layer: nn.Conv2d, mask: Tensor | None, outputs: Tensor, inputs: Tensor) -> None:
        self._layer, self._plain = layer, _plain(layer)
        self._outputs, self._inputs, self._gone = _index(outputs), _index(inputs), _index(~inputs)
        self._is_whole = self._outputs is None and self._inputs is None
        mask = mask if mask is None else _taken(mask, 0, self._outputs)
        self._mask = None if mask is None or bool(mask.all()) else mask

    def __call__(self, read: _Map) -> _Map:
        layer = self._layer
        if self._is_whole:
            return _Map(values=layer(read.values))
        weight = _taken(_latent(layer), 0, self._outputs)
        weight = weight if self._mask is None else weight * self._mask
        bias = None if layer.bias is None else _taken(layer.bias, 0, self._outputs)
        values = self._run(read.values, _taken(weight, 1, self._inputs), bias)
        if read.constant is not None:
            values = self._with_constants(values, read, weight)
        if self._outputs is None:
            return _Map(values=values)
        constant = weight.new_zeros(layer.out_channels) if layer.bias is None else layer.bias
        return _Map(values=values, constant=constant)

    def _with_constants(self, values: Tensor, read: _Map, weight: Tensor) -> Tensor:
        """Add what the filters make of the constant channels."""
        assert read.constant is not None
        constant = _taken(read.constant, 0, self._gone)
        # Zeros of a ReLU pass no gradient on. Where asking would make an accelerator wait, they are multiplied.
        if read.is_rectified and constant.device.type == "cpu" and not bool(constant.any()):
            return values
        kernel = (_taken(weight, 1, self._gone) * constant[:, None, None]).sum(1, keepdim=True)
        ones = values.new_ones((1, 1, *read.values.shape[2:]))
        return values + self._run(ones, kernel, None)

    def _run(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        self._plain.__dict__.update(weight=weight, bias=bias)
        values: Tensor = self._plain(maps)
        self._plain.__dict__.update(weight=None, bias=None)
        return values


class _Normalisation:
    """Batch normalisation of the channels that are computed, by the statistics of the batch."""

    def __init__(self, path: str, layer: nn.BatchNorm2d, channels: Tensor) -> None:
        if not (layer.affine and layer.track_running_stats and layer.momentum is not None):
            raise ValueError(f"{path}: only batch normalisation with scale, shift and a momentum can be compacted.")
        self._layer, self._channels, self._gone = layer, _index(channels), _index(~channels)

    def __call__(self, read: _Map) -> _Map:
        layer = self._layer
        if self._channels is None:
            return _Map(values=layer(read.values))
        assert read.constant is not None
        mean, variance = layer.running_mean, layer.running_var
        assert mean is not None
        assert variance is not None
        assert layer.momentum is not None
        own_mean, own_variance = (each.index_select(0, self._channels) for each in (mean, variance))
        scale, shift = (each.index_select(0, self._channels) for each in (layer.weight, layer.bias))
        values = functional.batch_norm(
            read.values,
            own_mean,
            own_variance,
            scale,
            shift,
            training=True,
            momentum=layer.momentum,
            eps=layer.eps,
        )
        with torch.no_grad():
            mean.lerp_(read.constant.detach().to(mean.dtype), layer.momentum).index_copy_(0, self._channels, own_mean)
            variance.mul_(1.0 - layer.momentum).index_copy_(0, self._channels, own_variance)
            assert layer.num_batches_tracked is not None
            layer.num_batches_tracked.add_(1)
        return _Map(values=values, constant=layer.bias)


class _Spread:
    """Puts the channels of a map among those that a larger one computes, and constants where these are."""

    def __init__(self, few: Tensor, many: Tensor, like: Tensor) -> None:
        self._is_needed = not torch.equal(few, many)
        self._many, self._is_whole = _index(many), bool(many.all())
        self._own = few[many]
        self._places = torch.eye(len(self._own), device=like.device, dtype=like.dtype)[:, self._own]  # [many, few]

    @classmethod
    def whole(cls, few: Tensor, like: Tensor) -> "_Spread":
        """Return what puts the channels of a map among all."""
        return cls(few, torch.ones_like(few), like)

    def __call__(self, read: _Map) -> _Map:
        if not self._is_needed:
            return read
        values, constant = read.values, read.constant
        assert constant is not None
        added = _taken(constant, 0, self._many).masked_fill(self._own, 0.0)
        if values.ndim == 2:
            spread = functional.linear(values, self._places, added)
        else:
            spread = functional.conv2d(values, self._places[:, :, None, None], added)
        return _Map(values=spread, constant=None if self._is_whole else constant, is_rectified=read.is_rectified)


class _Features:
    """A linear layer: it reads all channels."""

    def __init__(self, layer: nn.Linear, whole: _Spread) -> None:
        self._layer, self._whole = layer, whole

    def __call__(self, read: _Map) -> _Map:
        return _Map(values=self._layer(self._whole(read).values))


def _sum(first: _Map, second: _Map) -> _Map:
    constants = [each.constant for each in (first, second)]
    constant = None if constants[0] is None or constants[1] is None else constants[0] + constants[1]
    return _Map(values=first.values + second.values, constant=constant)


def _called(node: fx.Node, made: dict[fx.Node, "_Map | object"]) -> object:
    """Return what a function of maps' values and of numbers gives."""

    def value(read: fx.Node) -> Any:
        found = made[read]
        return found.values if isinstance(found, _Map) else found

    assert callable(node.target)
    arguments: Any = fx.node.map_arg(node.args, value)
    named: Any = fx.node.map_arg(node.kwargs, value)
    return node.target(*arguments, **named)


def _plain(layer: nn.Conv2d) -> nn.Conv2d:
    """Return the layer without parameters: whoever calls it gives them."""
    base: Any = parametrize.type_before_parametrizations(layer)
    made: nn.Conv2d = base.__new__(base)
    made.__dict__.update(layer.__dict__, _parameters={}, _modules={}, _buffers={})
    return made


def _latent(layer: nn.Conv2d) -> Tensor:
    if parametrize.is_parametrized(layer, "weight"):
        return layer.get_parameter("parametrizations.weight.original")
    return layer.weight


def _index(channels: Tensor) -> Tensor | None:
    """Return the places of the channels that are True; ``None`` for all."""
    return None if bool(channels.all()) else channels.nonzero().reshape(-1)


def _taken(tensor: Tensor, dimension: int, index: Tensor | None) -> Tensor:
    return tensor if index is None else tensor.index_select(dimension, index)
