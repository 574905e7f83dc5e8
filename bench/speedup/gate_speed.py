"""What skipping really gains: time of one gated layer, dense, masked and skipped, and of its step, beside its MACs."""

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench.speedup.level import level
from bench.speedup.turns import ROUNDS, Ratio, speeds
from methods.gating import compiled
from methods.gating.convolution import GatedConv2d
from methods.gating.gate import Gate
from methods.gating.known import KnownPixels, KnownSlices
from methods.gating.mask_unit import MaskUnit
from methods.gating.masked import MaskedConv2d
from methods.gating.skipping import Skipping, SkippingMasked

GROUPS = 4
RATES = (0.1, 0.26, 0.5)  # 0.26 is about what a reduction of 2.25 needs
SHAPES = ((64, 32), (128, 16), (256, 8), (512, 4))  # channels and side of ResNet-18's four stages on 32x32 images
Kind = Literal["pixels", "slices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One layer at one rate.

    Attributes:
        kind: ``pixels``: spatial gates, no base path; ``slices``: a base path, gates per pixel and slice of channels.
        channels: in and out.
        side: pixels of the map.
        slice_channels: output channels that share a gate.
        rate: fraction of gates that were on.
        dense_seconds: of the plain convolution; a normalisation that is part of the gated layer is folded into it.
        noise: dense over dense again.
        masked: dense over masked time, of the gated layer as it trains.
        skipped: dense over skipped time.
        largest_error: between masked and skipped outputs.
        step_seconds: forward and both gradients of the plain convolution.
        step: dense over skipped time of the same, with gates that are known before.
    """

    kind: Kind
    channels: int
    side: int
    slice_channels: int
    rate: float
    dense_seconds: float
    noise: Ratio
    masked: Ratio
    skipped: Ratio
    largest_error: float
    step_seconds: float
    step: Ratio

    @property
    def macs_reduction(self) -> float:
        """Dense MACs over executed ones, without the gate's overhead."""
        return 1 / self.rate if self.kind == "pixels" else 1 / (1 / GROUPS + (1 - 1 / GROUPS) * self.rate)


@torch.no_grad()
def timing(
    kind: Kind, channels: int, side: int, *, slice_channels: int, rate: float, images: int, rounds: int = ROUNDS
) -> Timing:
    """Time a random 3x3 layer on random maps, its thresholds set to let through about ``rate``.

    Args:
        kind: of the gates.
        channels: in and out.
        side: pixels of the map.
        slice_channels: output channels that share a gate; of ``pixels``, all do.
        rate: fraction of gates that shall be on.
        images: of a batch.
        rounds: how often dense, masked and skipped take turns.
    """
    generator = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    conv.weight.copy_(torch.randn(conv.weight.shape, generator=generator) / (3 * channels**0.5))
    conv = conv.to(memory_format=torch.channels_last)
    maps = torch.randn(images, channels, side, side, generator=generator).to(memory_format=torch.channels_last)
    dense, layer, skipping = (_pixels if kind == "pixels" else _slices)(conv, maps, slice_channels, rate)
    layer.notes = []
    masked = layer(maps)
    gates, layer.notes = layer.notes[0].gates, None
    measured = speeds(
        lambda: dense(maps), {"masked": lambda: layer(maps), "skipped": lambda: skipping(maps)}, rounds=rounds
    )
    known = KnownPixels(conv, nn.Identity()) if isinstance(layer, MaskedConv2d) else KnownSlices(layer)
    known.gates = gates
    learned = speeds(_step(conv, maps), {"known": _step(known, maps)}, rounds=rounds)
    return Timing(
        kind=kind,
        channels=channels,
        side=side,
        slice_channels=channels if kind == "pixels" else slice_channels,
        rate=float(gates.float().mean()),
        dense_seconds=measured.seconds,
        noise=measured.noise,
        masked=measured.of["masked"].cpu,
        skipped=measured.of["skipped"].cpu,
        largest_error=float((masked - skipping(maps)).abs().max()),
        step_seconds=learned.seconds,
        step=learned.of["known"].cpu,
    )


def _step(layer: nn.Module, maps: Tensor) -> Callable[[], None]:
    """Return a pass forwards and backwards, to the maps and to the weights."""
    maps, errors = maps.clone().requires_grad_(), torch.randn_like(maps)

    @torch.enable_grad()
    def step() -> None:
        maps.grad = None
        layer.zero_grad()
        layer(maps).backward(errors)

    return step


def how_skipped() -> str:
    """Say what computes open pixels here."""
    why = compiled.missing()
    return f"in PyTorch ({why})" if why else "by a compiled kernel"


def timings(slice_channels: int, *, images: int) -> list[Timing]:
    """Time both kinds, every shape at every rate; slices of 0 channels: the thickest that fit, a quarter of a layer."""
    kinds: tuple[Kind, ...] = ("pixels", "slices")
    return [
        timing(kind, *shape, slice_channels=slice_channels or shape[0] // GROUPS, rate=rate, images=images)
        for kind in kinds
        for shape in SHAPES
        for rate in RATES
    ]


def lines(found: Sequence[Timing]) -> list[str]:
    """Return the table as text, and for each kind and shape the rate at which skipping stops to pay."""
    head = (
        "gates   channels  side  slice  rate  fewer MACs  dense ms  masked  skipped        interval  dense/dense"
        "   step ms    known        interval"
    )
    table = [
        f"{item.kind:6}  {item.channels:8}  {item.side:4}  {item.slice_channels:5}  {item.rate:.2f}"
        f"  {item.macs_reduction:9.2f}x  {1e3 * item.dense_seconds:8.2f}  {item.masked.median:5.2f}x"
        f"  {item.skipped.median:6.2f}x  {item.skipped.low:5.2f} to {item.skipped.high:4.2f}"
        f"   {item.noise.low:.2f} to {item.noise.high:.2f}"
        f"  {1e3 * item.step_seconds:8.2f}  {item.step.median:6.2f}x  {item.step.low:5.2f} to {item.step.high:4.2f}"
        for item in found
    ]
    shapes = dict.fromkeys((item.kind, item.channels, item.side) for item in found)
    return [
        "Speed-up over the dense layer: CPU time, one thread, in turns, median and 95 % interval.",
        f"Skipped: open pixels alone, {how_skipped()}. Weights are packed before; masked: as it trains.",
        "Step: forwards and backwards, dense; known: where gates that were decided before are open.",
        "",
        head,
        *table,
        "",
        "A step with known gates takes as long as dense, interpolated between the rates measured:",
        *(_evens(found, shape, lambda item: item.step) for shape in shapes),
        "",
        "Inference takes as long as dense:",
        *(_evens(found, shape, lambda item: item.skipped) for shape in shapes),
    ]


def _evens(found: Sequence[Timing], shape: tuple[Kind, int, int], of: Callable[[Timing], Ratio]) -> str:
    own = [(item.rate, of(item).median) for item in found if (item.kind, item.channels, item.side) == shape]
    return f"{shape[0]:6}  {shape[1]:4} x {shape[2]:2}: {_even(own)}"


def _even(speed_ups: Sequence[tuple[float, float]]) -> str:
    """Say at which rate skipping takes as long as dense; beyond the rates measured, only on which side it lies."""
    points = sorted((rate, 1 / speed_up) for rate, speed_up in speed_ups)
    if points[0][1] >= 1:
        return f"below a rate of {points[0][0]:.2f}"
    for (rate, share), (next_rate, next_share) in itertools.pairwise(points):
        if share < 1 <= next_share:
            return f"at a rate of {rate + (next_rate - rate) * (1 - share) / (next_share - share):.2f}"
    return f"above a rate of {points[-1][0]:.2f}"


def _slices(
    conv: nn.Conv2d, maps: Tensor, slice_channels: int, rate: float
) -> tuple[nn.Module, GatedConv2d, nn.Module]:
    gate = Gate(conv.out_channels, slice_channels)
    layer = GatedConv2d(conv, gate, groups=GROUPS)
    gate.normalisation.momentum = 1.0  # one pass, in training mode, settles the running statistics
    layer(maps)
    layer.eval()
    base = layer.base(maps).unflatten(1, (-1, slice_channels)).mean(2)
    gate.aim.copy_(level(gate.normalisation(base), rate))
    return conv, layer, Skipping(layer)


def _pixels(conv: nn.Conv2d, maps: Tensor, _: int, rate: float) -> tuple[nn.Module, MaskedConv2d, nn.Module]:
    folded = copy.deepcopy(conv)  # a normalisation behind it costs nothing, once it is folded
    folded.bias = nn.Parameter(torch.zeros(conv.out_channels))
    normalisation, unit = nn.BatchNorm2d(conv.out_channels), MaskUnit(conv)
    layer = MaskedConv2d(conv, normalisation, unit, read=None, written=None, wider=0).eval()
    logits = unit.window(maps) + unit.image(maps.mean((2, 3)))[..., None, None]
    unit.aim.copy_(level(logits, rate))
    return folded, layer, SkippingMasked(layer, read=None, written=None, wider=0)
