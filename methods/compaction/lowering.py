"""What an encoder's forward pass is for one call of the compiled kernel: convolutions with what follows each, pooling.

A normalisation has melted into its convolution before. What is left behind a convolution is done before its sums are
stored: putting channels in their places in a sum (the 1x1 convolution of a ``Spread`` is no arithmetic), adding a
shortcut, ReLU. So every map is written once.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from methods.compaction.border import BorderedConv2d
from methods.compaction.wires import Kind, Traced, Wire, traced


@dataclass(slots=True, kw_only=True)
class Layer:
    """What makes a map of one or two earlier ones.

    Attributes:
        kind: what is done.
        read: number of the map that is read; 0 is the image.
        channels: of the map that it makes.
        kernel: rows and columns under it; (0, 0): the whole map.
        stride: rows and columns between windows.
        padding: rows and columns of zeros at each border.
        dilation: rows and columns between the pixels under the kernel.
        weight: ``[outputs, inputs, rows, columns]``, where there is one.
        bias: ``[outputs]``.
        border: ``[outputs, 1, rows, columns]``: of a ``BorderedConv2d``.
        places: ``[outputs]``: channels of the map where outputs go; ``None``: in their order.
        constant: ``[channels]``: of the channels that are no outputs, where there are places.
        shortcut: number of the map that is added.
        is_rectified: whether ReLU follows.
        number: of the map that it makes; ``None`` until something needs it to be there.
    """

    kind: Literal["convolution", "maximum", "average"]
    read: int
    channels: int
    kernel: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    weight: Tensor | None = None
    bias: Tensor | None = None
    border: Tensor | None = None
    places: Tensor | None = None
    constant: Tensor | None = None
    shortcut: int | None = None
    is_rectified: bool = False
    number: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether something may still be done to the sums before they are stored."""
        return self.kind == "convolution" and self.number is None and not self.is_rectified


@torch.no_grad()
def lowered(encoder: nn.Module) -> list[Layer]:
    """Return the layers that make map 1, 2, ...; the last one makes the features.

    Args:
        encoder: whose normalisations are melted.

    Raises:
        ValueError: the encoder cannot be traced, or does what the kernel cannot.
    """
    return _Lowering(encoder, traced(encoder)).layers


@dataclass(slots=True)
class _Image:
    number: int = 0


@dataclass(slots=True)
class _Lowering:
    encoder: nn.Module
    traced: Traced
    layers: list[Layer] = field(default_factory=list)
    _made: list[Layer | _Image] = field(default_factory=list)
    _readers: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        wires = self.traced.wires
        self._readers.update(read for wire in wires for read in wire.reads)
        nodes = {place: node for node, place in self.traced.places.items()}
        for place, wire in enumerate(wires):
            self._made.append(self._of(wire, nodes[place]))
        self._number(len(wires) - 1)
        if not self.layers or not self._is_one_pixel(self.layers[-1]):
            raise ValueError("the encoder returns maps of several pixels, and the kernel features alone.")

    def _of(self, wire: Wire, node: fx.Node) -> Layer | _Image:
        if wire.kind is Kind.IMAGE:
            return _Image()
        if wire.kind is Kind.SUM:
            return self._sum(wire.reads, node)
        (read,) = wire.reads
        before, layer = self._made[read], self.encoder.get_submodule(wire.path) if wire.path else None
        if isinstance(layer, nn.Conv2d):
            return self._convolution(read, layer, wire.path)
        if isinstance(layer, nn.Linear):
            if not isinstance(before, Layer) or not self._is_one_pixel(before):
                raise ValueError(f"{wire.path} reads maps of several pixels: the kernel does not mix these.")
            return Layer(
                kind="convolution",
                read=self._number(read),
                channels=layer.out_features,
                kernel=(1, 1),
                weight=layer.weight[:, :, None, None],
                bias=layer.bias,
            )
        if wire.kind is Kind.RELU:
            if isinstance(before, Layer) and before.is_open and self._readers[read] == 1:
                before.is_rectified = True
                return before
            raise ValueError(
                f"{node.name}: the kernel rectifies sums before they are stored, and others need this one."
            )
        if wire.kind is Kind.SAME:
            return self._same(read, layer, node)
        raise ValueError(f"{node.name}: the kernel computes no {wire.kind.value}. Melt it into a convolution before.")

    def _convolution(self, read: int, conv: nn.Conv2d, path: str) -> Layer:
        before = self._made[read]
        if (
            isinstance(before, Layer)
            and before.is_open
            and before.places is None
            and before.shortcut is None
            and self._readers[read] == 1
            and (places := _places(conv)) is not None
        ):
            before.places, before.constant, before.channels = places, conv.bias, conv.out_channels
            return before
        if conv.groups != 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            raise ValueError(
                f"{path}: the kernel computes convolutions of one group with zero padding in pixels alone."
            )
        return Layer(
            kind="convolution",
            read=self._number(read),
            channels=conv.out_channels,
            kernel=(conv.kernel_size[0], conv.kernel_size[1]),
            stride=(conv.stride[0], conv.stride[1]),
            padding=(conv.padding[0], conv.padding[1]),
            dilation=(conv.dilation[0], conv.dilation[1]),
            weight=conv.weight,
            bias=conv.bias,
            border=conv.border if isinstance(conv, BorderedConv2d) else None,
        )

    def _sum(self, reads: Sequence[int], node: fx.Node) -> Layer:
        """Let the first summand that still can be added to be so."""
        for own, other in (reads, tuple(reversed(reads))):
            layer = self._made[own]
            if isinstance(layer, Layer) and layer.is_open and layer.shortcut is None and self._readers[own] == 1:
                layer.shortcut = self._number(other)
                return layer
        raise ValueError(f"{node.name}: the kernel adds maps to sums of a convolution that nothing else reads.")

    def _same(self, read: int, layer: nn.Module | None, node: fx.Node) -> Layer | _Image:
        before = self._made[read]
        if isinstance(layer, nn.Identity):
            return before
        if isinstance(layer, nn.Flatten) or node.target is torch.flatten:
            if isinstance(before, Layer) and self._is_one_pixel(before):
                return before
            raise ValueError(f"{node.name}: the kernel does not mix pixels and channels.")
        assert isinstance(before, Layer)
        if isinstance(layer, nn.MaxPool2d):
            kernel, stride, padding, dilation = (
                _pair(each) for each in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
            )
            if dilation != (1, 1) or layer.ceil_mode or layer.return_indices:
                raise ValueError(f"{node.name}: the kernel pools neighbours in whole windows alone.")
            return Layer(
                kind="maximum",
                read=self._number(read),
                channels=before.channels,
                kernel=kernel,
                stride=stride,
                padding=padding,
            )
        if _is_of_all_pixels(layer, node):
            return Layer(kind="average", read=self._number(read), channels=before.channels)
        raise ValueError(f"{node.name}: the kernel averages whole maps alone.")

    def _number(self, place: int) -> int:
        """Return the number of a map, which from now on is stored as it is."""
        made = self._made[place]
        if made.number is None:
            assert isinstance(made, Layer)
            self.layers.append(made)
            made.number = len(self.layers)
        return made.number

    def _is_one_pixel(self, layer: Layer) -> bool:
        """Tell whether a map has one pixel, however large images are."""
        while layer.kind == "convolution" and layer.kernel == (1, 1) and layer.read:
            layer = self.layers[layer.read - 1]
        return layer.kind == "average"


def _places(conv: nn.Conv2d) -> Tensor | None:
    """Return where a 1x1 convolution puts its inputs, unchanged, in their order; ``None`` if it does anything else."""
    if conv.kernel_size != (1, 1) or conv.stride != (1, 1) or conv.padding != (0, 0) or conv.groups != 1:
        return None
    weight = conv.weight[:, :, 0, 0]
    is_set = weight != 0
    if conv.bias is None or bool((weight[is_set] != 1).any()):
        return None
    if bool((is_set.sum(0) != 1).any() or (is_set.sum(1) > 1).any() or conv.bias[is_set.any(1)].any()):
        return None
    places = is_set.int().argmax(0)
    return places if bool((places.diff() > 0).all()) else None


def _is_of_all_pixels(layer: nn.Module | None, node: fx.Node) -> bool:
    """Tell whether a call averages over the whole map, whatever its size."""
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return layer.output_size in {1, (1, 1)}
    if node.target is functional.adaptive_avg_pool2d:
        return node.args[1] in {1, (1, 1)}
    # A window as large as the map's shape says; of a fixed one nobody knows how many there will be.
    return node.target is functional.avg_pool2d and len(node.args) == 2 and isinstance(node.args[1], fx.Node)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
