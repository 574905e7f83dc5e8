"""What a compacted encoder gains here: bytes, multiply-accumulates, and time in turns with the masked one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.errors import UserError
from bench.runs.export import TOLERANCE, sample
from bench.speedup.turns import Ratio, speeds
from bench.training.encoder_file import Encoder
from methods import macs
from methods.compaction import folded

BATCHES = (1, 64)
_LEAST_SECONDS = 0.02  # of a turn


class CompactionError(UserError):
    """The compacted encoder computes something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """A compacted encoder beside the masked one.

    Attributes:
        off: largest difference of their features on images, as a fraction of the largest feature.
        masked_macs: of an image, zeros multiplied.
        macs: of an image.
        speed_ups: images of a batch -> CPU time of the masked over that of the compacted encoder.
        folding: images of a batch -> CPU time of the masked encoder over its own with normalisation folded into the
            convolutions, as the compacted one has it: the part of the speed-up that is owed to no zeros.
        noise: images of a batch -> the masked encoder's time over its own.
    """

    off: float
    masked_macs: int
    macs: int
    speed_ups: Mapping[int, Ratio]
    folding: Mapping[int, Ratio]
    noise: Mapping[int, Ratio]

    @property
    def reduction(self) -> float:
        """How many times fewer multiply-accumulates there are."""
        return self.masked_macs / self.macs


@torch.no_grad()
def gain(masked: Encoder, compact: Encoder) -> Gain:
    """Compare on handwritten digits of scikit-learn's, in the size that the encoder was scored on.

    Raises:
        CompactionError: the features differ by more than 1e-5 of the largest.
    """
    images = sample(masked)
    expected = masked(images)
    largest = expected.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    off = float((compact(images) - expected).abs().max() / largest)
    if not off <= TOLERANCE:
        raise CompactionError(
            f"the compacted encoder's features are off by {off:.1e} of the largest, more than {TOLERANCE:.0e}: nothing "
            "was written. Leave out --compact, and tell us which run it is."
        )
    shape, whole = (3, masked.pixels, masked.pixels), folded(masked.network)
    measured = {
        count: speeds(
            _forward(masked.network, batch),
            {"folded": _forward(whole, batch), "compact": _forward(compact.network, batch)},
            least_seconds=_LEAST_SECONDS,
        )
        for count, batch in ((count, _batch(images, count)) for count in BATCHES)
    }
    return Gain(
        off=off,
        masked_macs=sum(macs.inference_macs(masked.network, shape).values()),
        macs=sum(macs.inference_macs(compact.network, shape).values()),
        speed_ups={count: found.of["compact"].cpu for count, found in measured.items()},
        folding={count: found.of["folded"].cpu for count, found in measured.items()},
        noise={count: found.noise for count, found in measured.items()},
    )


def lines(found: Gain) -> list[str]:
    """Return what a user is told."""
    return [
        (
            f"{found.macs:,} MACs an image, {found.reduction:.2f} times fewer than with zeros multiplied "
            f"({found.masked_macs:,})"
        ),
        *(
            f"batch {count}: {ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) times as fast, "
            f"{ratio.median / found.reduction:.2f} of the MACs; folding normalisation alone gives "
            f"{found.folding[count].median:.2f}; noise {found.noise[count].low:.2f} to {found.noise[count].high:.2f}"
            for count, ratio in found.speed_ups.items()
        ),
        "CPU time of one thread in turns with the masked encoder, median and 95 % interval.",
    ]


def _batch(images: Tensor, count: int) -> Tensor:
    return images[torch.arange(count) % len(images)].contiguous(memory_format=torch.channels_last)


def _forward(encoder: nn.Module, batch: Tensor) -> Callable[[], object]:
    return lambda: encoder(batch)
