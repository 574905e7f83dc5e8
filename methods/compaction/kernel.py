"""The compiled kernel that computes a whole encoder in one call (``fused.cpp``), and what it is told."""

import ctypes
import functools
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from methods import native
from methods.compaction.lowering import Layer

SOURCE = Path(__file__).with_name("fused.cpp")
CHUNKS = (2, 16)  # images that go through all layers together: at least, at most
_GROUPS = (1, 2, 4)  # lanes that an output may have, if not all of a vector
_WIDEST = 3  # vectors of output channels that are summed up together
_FOLDING = 1.5  # products' time that each halving of a group takes when its sums are added up; measured, AVX-512
_KINDS = ("convolution", "maximum", "average")
_LINE = 16  # numbers that a cache fetches at once


class _Map(ctypes.Structure):
    """The fields of ``Map`` in ``fused.cpp``, in their order."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("height", "width", "channels", "step", "border", "offset"))


class _Step(ctypes.Structure):
    """The fields of ``Step`` in ``fused.cpp``, in their order."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("kind", "input", "output", "shortcut", "kernel_height", "kernel_width")),
        *((name, ctypes.c_int64) for name in ("down", "across", "top", "left", "is_rectified", "segments")),
        *((name, ctypes.c_void_p) for name in ("offsets", "lengths")),
        ("panels", ctypes.c_int64),
        ("vectors", ctypes.c_void_p),
        ("group", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("weight", "start")),
        ("start_step", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("constant", "firsts", "places")),
    )


class _Program(ctypes.Structure):
    """The fields of ``Program`` in ``fused.cpp``, in their order."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("maps", "steps")),
        *((name, ctypes.c_int64) for name in ("count", "chunk", "image", "channel", "row", "column", "last")),
    )


@functools.cache
def library() -> ctypes.CDLL:
    """Return the kernel, built if it was not yet.

    Raises:
        NoKernelError: there is no compiler, or it cannot build the kernel.
    """
    loaded = native.loaded(SOURCE)
    loaded.lanes.restype = ctypes.c_int64
    loaded.run.argtypes = (*(ctypes.c_void_p,) * 3, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)
    loaded.run.restype = None
    return loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Panels:
    """The weights of a convolution in the order in which the kernel reads them.

    Attributes:
        group: lanes of an output. Where there are few outputs, each has several, which take one input each.
        vectors: int64 ``[panels]``: vectors of output channels in each panel.
        weight: of each panel, for each group of numbers under the kernel, its vectors; zeros fill groups and vectors.
    """

    group: int
    vectors: Tensor
    weight: Tensor

    @classmethod
    def of(cls, weight: Tensor, lanes: int) -> "Panels":
        """Pack ``[outputs, inputs, rows, columns]``."""
        group = min((*_GROUPS, lanes), key=lambda group: _products(weight, lanes, group))
        outputs, inputs = weight.shape[:2]
        whole = functional.pad(weight, (0, 0, 0, 0, 0, -inputs % group, 0, -outputs % (lanes // group)))
        rows = whole.unflatten(1, (-1, group)).permute(3, 4, 1, 0, 2).flatten(3).flatten(0, 2)
        count = rows.shape[1] // lanes
        wide = max(0, (count - _WIDEST - 1) // _WIDEST + 1 if count % _WIDEST == 1 else count // _WIDEST)
        rest = count - _WIDEST * wide  # 0, 1, 2 or 4: rather two of two than one of three and one of one
        vectors = [_WIDEST] * wide + ([2, 2] if rest == 4 else [rest] if rest else [])
        panels = rows.split([each * lanes for each in vectors], dim=1)
        packed = torch.cat([panel.flatten() for panel in panels]).float()
        return cls(group=group, vectors=torch.tensor(vectors), weight=packed)


def _products(weight: Tensor, lanes: int, group: int) -> float:
    """Return the time of a pixel whose outputs have so many lanes each, in products of vectors."""
    outputs, inputs, rows, columns = weight.shape
    return -(-outputs * group // lanes) * (rows * columns * -(-inputs // group) + _FOLDING * (group.bit_length() - 1))


class Program:
    """The layers of an encoder for images of one size.

    Args:
        layers: of the encoder.
        panels: of each layer's weights; ``None`` where it has none.
        size: channels, height and width of an image.

    Raises:
        ValueError: the images are too small for a kernel.
    """

    def __init__(self, layers: Sequence[Layer], panels: Sequence[Panels | None], size: tuple[int, int, int]) -> None:
        lanes = int(library().lanes())
        self._kept: list[Tensor] = []  # what the structures point to
        self._maps = _maps(layers, panels, size, lanes)
        self._steps = (_Step * len(layers))()
        for step, layer, packed in zip(self._steps, layers, panels, strict=True):
            self._fill(step, layer, packed, lanes)
        last = self._maps[len(layers)]
        self.features = int(last.channels)
        # As many images together as make their maps as large as the weights, which are read anew for the next ones.
        of_image = sum(_numbers(each) for each in self._maps)
        weights = sum(packed.weight.numel() for packed in panels if packed is not None)
        self._chunk = min(max(weights // of_image, CHUNKS[0]), CHUNKS[1])
        numbers = [self._chunk * _numbers(each) for each in self._maps]
        for each, offset in zip(self._maps, itertools.accumulate(numbers, initial=0), strict=False):
            each.offset = offset
        self._size = sum(numbers) + _LINE
        self._arenas: deque[Tensor] = deque()

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features ``[B, F]`` of float32 images ``[B, C, H, W]`` on the CPU, in whatever memory format."""
        features = images.new_empty(len(images), self.features)
        threads = max(1, min(torch.get_num_threads(), len(images)))
        arenas = [self._arena() for _ in range(threads)]
        strides = dict(zip(("image", "channel", "row", "column"), images.stride(), strict=True))
        program = _Program(
            maps=ctypes.addressof(self._maps),
            steps=ctypes.addressof(self._steps),
            count=len(self._steps),
            chunk=self._chunk,
            last=len(self._maps) - 1,
            **strides,
        )
        pointers = (ctypes.c_void_p * threads)(*(each.data_ptr() for each in arenas))
        library().run(ctypes.byref(program), images.data_ptr(), features.data_ptr(), len(images), pointers, threads)
        self._arenas.extend(arenas)
        return features

    def _arena(self) -> Tensor:
        """Return memory for the maps whose borders are zeros; nobody else uses it until it is given back."""
        try:
            return self._arenas.pop()
        except IndexError:
            return torch.zeros(self._size)

    def _fill(self, step: _Step, layer: Layer, packed: Panels | None, lanes: int) -> None:
        """Tell the kernel what a layer is."""
        assert layer.number is not None
        read, made = self._maps[layer.read], self._maps[layer.number]
        step.kind = _KINDS.index(layer.kind)
        step.input, step.output = layer.read, layer.number
        step.shortcut = -1 if layer.shortcut is None else layer.shortcut
        (step.kernel_height, step.kernel_width), (step.down, step.across) = layer.kernel, layer.stride
        (step.top, step.left), step.is_rectified = layer.padding, layer.is_rectified
        if packed is None:
            return
        assert layer.weight is not None
        segments = _segments(layer, read, packed.group)
        step.segments = len(segments)
        step.offsets, step.lengths = (self._keep(torch.tensor(each)) for each in zip(*segments, strict=True))
        step.panels, step.outputs = len(packed.vectors), len(layer.weight)
        step.vectors, step.weight, step.group = self._keep(packed.vectors), self._keep(packed.weight), packed.group
        start, step.start_step = _start(layer, read, made, packed.group, lanes)
        step.start = self._keep(start)
        if layer.places is not None:
            assert layer.constant is not None
            step.constant = self._keep(functional.pad(layer.constant.float(), (0, made.step - made.channels)))
            step.firsts, step.places = (self._keep(each) for each in _spread(layer.places, int(made.step), lanes))

    def _keep(self, tensor: Tensor) -> int:
        self._kept.append(tensor.contiguous())
        return self._kept[-1].data_ptr()


def _maps(
    layers: Sequence[Layer], panels: Sequence[Panels | None], size: tuple[int, int, int], lanes: int
) -> "ctypes.Array[_Map]":
    """Return the maps, without their places in memory."""
    channels, height, width = size
    units = _units(layers, panels, lanes)
    made = (_Map * (len(layers) + 1))()
    made[0] = _Map(height=height, width=width, channels=channels, step=-(-channels // units[0]) * units[0])
    for number, layer in enumerate(layers, 1):
        read = made[layer.read]
        high, wide = (1, 1) if layer.kind == "average" else _windows(layer, (int(read.height), int(read.width)))
        if min(high, wide) < 1:
            raise ValueError(f"images of {height}x{width} pixels are smaller than a kernel of the encoder.")
        step = -(-layer.channels // units[number]) * units[number]
        made[number] = _Map(height=high, width=wide, channels=layer.channels, step=step)
        if layer.kind == "convolution":
            read.border = max(int(read.border), *layer.padding)
    return made


def _units(layers: Sequence[Layer], panels: Sequence[Panels | None], lanes: int) -> list[int]:
    """Return how many channels each map has a multiple of: what a vector stores and what its readers take at once.

    Those that are none stay zero. A map that is added, or has another one added, has whole vectors.
    """
    shortcuts = {layer.shortcut for layer in layers}
    units = [1]
    for layer, packed in zip(layers, panels, strict=True):
        is_alone = layer.places is None and layer.shortcut is None and layer.number not in shortcuts
        units.append(lanes // packed.group if packed is not None and is_alone else lanes)
    for layer, packed in zip(layers, panels, strict=True):
        if packed is not None:
            units[layer.read] = max(units[layer.read], packed.group)
    return units


def _windows(layer: Layer, size: tuple[int, int]) -> tuple[int, int]:
    """Return how many rows and columns of windows a map of a size has."""
    high, wide = (
        (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for side, padding, dilation, kernel, stride in zip(
            size, layer.padding, layer.dilation, layer.kernel, layer.stride, strict=True
        )
    )
    return high, wide


def _numbers(made: _Map) -> int:
    """Return how many numbers a map has, its border included, in whole lines of a cache."""
    border = 2 * int(made.border)
    numbers = (int(made.height) + border) * (int(made.width) + border) * int(made.step)
    return -(-numbers // _LINE) * _LINE


def _segments(layer: Layer, read: _Map, group: int) -> list[tuple[int, int]]:
    """Return where runs of numbers under a kernel begin, counted from the window's corner, and how long they are."""
    assert layer.weight is not None
    inputs, (rows, columns), (down, across) = -(-layer.weight.shape[1] // group) * group, layer.kernel, layer.dilation
    pitch = (int(read.width) + 2 * int(read.border)) * int(read.step)
    if read.step == inputs and across == 1:
        return [(row * down * pitch, columns * inputs) for row in range(rows)]
    return [
        (row * down * pitch + column * across * int(read.step), inputs)
        for row in range(rows)
        for column in range(columns)
    ]


def _start(layer: Layer, read: _Map, made: _Map, group: int, lanes: int) -> tuple[Tensor, int]:
    """Return what the lanes of each pixel begin with, and how far those of two pixels are apart."""
    assert layer.weight is not None
    outputs = len(layer.weight)
    bias = layer.weight.new_zeros(outputs) if layer.bias is None else layer.bias
    if layer.border is None:
        return _grouped(bias, group, lanes), 0
    ones = layer.border.new_ones(1, 1, int(read.height), int(read.width))
    border = functional.conv2d(
        ones, layer.border, bias, stride=layer.stride, padding=layer.padding, dilation=layer.dilation
    )
    pixels = border[0].permute(1, 2, 0).reshape(int(made.height * made.width), outputs)
    found = _grouped(pixels, group, lanes)
    return found, found.shape[1]


def _spread(places: Tensor, channels: int, lanes: int) -> tuple[Tensor, Tensor]:
    """Return, of outputs in ascending places, how many there are before each vector and, for each channel, its own.

    Returns:
        int64 ``[vectors]``, and int32 ``[channels]``: which of the vector's outputs; -1: none.
    """
    is_output = torch.zeros(channels, dtype=torch.int64).index_fill(0, places, 1).view(-1, lanes)
    counts = is_output.sum(1)
    return counts.cumsum(0) - counts, (is_output.cumsum(1) * is_output - 1).flatten().int()


def _grouped(values: Tensor, group: int, lanes: int) -> Tensor:
    """Give the first lane of each output its value; return whole vectors."""
    grouped = functional.pad(values.float()[..., None], (0, group - 1)).flatten(-2)
    return functional.pad(grouped, (0, -grouped.shape[-1] % lanes))
