"""What skipping really gains: time of one gated layer, dense, masked and skipped, beside its MACs.

Times are CPU seconds of one thread, which other work on the machine disturbs less than it does wall time.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.gating.convolution import GatedConv2d
from methods.gating.gate import Gate
from methods.gating.skipping import Skipping

GROUPS = 4
IMAGES = 16
REPEATS = 7
RATES = (0.05, 0.26, 0.5)  # 0.26 is about what a reduction of 2.25 needs
SHAPES = ((64, 32), (128, 16), (256, 8), (512, 4))  # channels and side of ResNet-18's four stages on 32x32 images


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One layer at one rate; seconds are medians for ``IMAGES`` images.

    Attributes:
        channels: in and out.
        side: pixels of the map.
        slice_channels: output channels that share a gate.
        rate: fraction of gates that were on.
        macs_reduction: dense MACs over executed ones, without the gate's overhead.
        dense_seconds: of the plain convolution.
        masked_seconds: of the gated layer as it trains.
        skipped_seconds: of gather, compute, scatter.
        largest_error: between masked and skipped outputs.
    """

    channels: int
    side: int
    slice_channels: int
    rate: float
    macs_reduction: float
    dense_seconds: float
    masked_seconds: float
    skipped_seconds: float
    largest_error: float

    @property
    def speed_up(self) -> float:
        """Dense time over skipped time: below 1 where skipping loses."""
        return self.dense_seconds / self.skipped_seconds


@torch.no_grad()
def timing(channels: int, side: int, *, slice_channels: int, rate: float) -> Timing:
    """Time a random 3x3 layer on random maps, its thresholds set to let through about ``rate``."""
    generator = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    conv.weight.copy_(torch.randn(conv.weight.shape, generator=generator) / (3 * channels**0.5))
    conv = conv.to(memory_format=torch.channels_last)
    gate = Gate(channels, slice_channels)
    layer = GatedConv2d(conv, gate, groups=GROUPS)
    maps = torch.randn(IMAGES, channels, side, side, generator=generator).to(memory_format=torch.channels_last)
    layer(maps)
    gate.normalisation.momentum = 1.0  # one pass, in training mode, settles the running statistics
    layer(maps)
    layer.eval()
    base = layer.base(maps).unflatten(1, (-1, slice_channels)).mean(2)
    gate.aim.copy_(gate.normalisation(base).flatten().quantile(1 - rate, interpolation="nearest"))
    found, skipping = float(layer.decide(layer.gate, layer.base(maps)).mean()), Skipping(layer)
    return Timing(
        channels=channels,
        side=side,
        slice_channels=slice_channels,
        rate=found,
        macs_reduction=1 / (1 / GROUPS + (1 - 1 / GROUPS) * found),
        dense_seconds=_seconds(lambda: conv(maps)),
        masked_seconds=_seconds(lambda: layer(maps)),
        skipped_seconds=_seconds(lambda: skipping(maps)),
        largest_error=float((layer(maps) - skipping(maps)).abs().max()),
    )


def timings(slice_channels: int) -> list[Timing]:
    """Time every shape at every rate."""
    return [timing(*shape, slice_channels=slice_channels, rate=rate) for shape in SHAPES for rate in RATES]


def lines(found: Sequence[Timing]) -> list[str]:
    """Return a table as text."""
    head = "channels  side  slice  rate   fewer MACs  dense ms  masked ms  skipped ms  speed-up"
    return [head] + [
        f"{item.channels:8}  {item.side:4}  {item.slice_channels:5}  {item.rate:.2f}  {item.macs_reduction:9.2f}x"
        f"  {1e3 * item.dense_seconds:8.2f}  {1e3 * item.masked_seconds:9.2f}  {1e3 * item.skipped_seconds:10.2f}"
        f"  {item.speed_up:7.2f}x"
        for item in found
    ]


def _seconds(work: Callable[[], Tensor]) -> float:
    """Return the median on one thread; the first call, which builds kernels, is not timed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        work()
        durations = []
        for _ in range(REPEATS):
            began = time.process_time()
            work()
            durations.append(time.process_time() - began)
    finally:
        torch.set_num_threads(threads)
    return sorted(durations)[REPEATS // 2]
