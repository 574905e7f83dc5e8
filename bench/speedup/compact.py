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
from methods.compaction import folded, fused, one_call

BATCHES = (1, 64)
IN_ONE_CALL = "compacted, in one call of a compiled kernel: load_encoder(FILE).fused()"
PLAIN = "compacted, in PyTorch: load_encoder(FILE)"
FOLDED = "not compacted, normalisation folded into the convolutions, in PyTorch"
ALL_IN_ONE_CALL = "not compacted, in one call of the same kernel"
# A form without zeros -> the same form with them, and its name: what is faster between the two is owed to zeros alone.
_WITH_ZEROS = {IN_ONE_CALL: (ALL_IN_ONE_CALL, "the same call"), PLAIN: (FOLDED, "the same folded convolutions")}
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
        speeds: images of a batch -> form of an encoder -> CPU time of the masked encoder over that of the form; among
            them forms of the masked encoder, whose speed is owed to no zeros.
        noise: images of a batch -> the masked encoder's time over its own.
    """

    off: float
    masked_macs: int
    macs: int
    speeds: Mapping[int, Mapping[str, Ratio]]
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
    whole = folded(masked.network)
    networks = {PLAIN: compact.network, FOLDED: whole}
    if not one_call.missing():
        networks = {IN_ONE_CALL: fused(compact.network), **networks, ALL_IN_ONE_CALL: fused(whole)}
    expected = masked(images)
    largest = expected.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    off = max(float((network(images) - expected).abs().max() / largest) for network in networks.values())
    if not off <= TOLERANCE:
        raise CompactionError(
            f"the compacted encoder's features are off by {off:.1e} of the largest, more than {TOLERANCE:.0e}: nothing "
            "was written. Leave out --compact, and tell us which run it is."
        )
    measured = {
        count: speeds(
            _forward(masked.network, batch),
            {form: _forward(network, batch) for form, network in networks.items()},
            least_seconds=_LEAST_SECONDS,
        )
        for count, batch in ((count, _batch(images, count)) for count in BATCHES)
    }
    shape = (3, masked.pixels, masked.pixels)
    return Gain(
        off=off,
        masked_macs=sum(macs.inference_macs(masked.network, shape).values()),
        macs=sum(macs.inference_macs(compact.network, shape).values()),
        speeds={count: {form: each.cpu for form, each in found.of.items()} for count, found in measured.items()},
        noise={count: found.noise for count, found in measured.items()},
    )


def lines(found: Gain) -> list[str]:
    """Return what a user is told: of each compacted form also what is owed to the zeros, the rest being the form's."""
    said = [
        (
            f"{found.macs:,} MACs an image, {found.reduction:.2f} times fewer than with zeros multiplied "
            f"({found.masked_macs:,})"
        )
    ]
    for count, ratios in found.speeds.items():
        noise = found.noise[count]
        said.append(f"batch {count}, times as fast as the masked encoder; noise {noise.low:.2f} to {noise.high:.2f}:")
        for form, ratio in ratios.items():
            owed = ""
            if form in _WITH_ZEROS:
                whole, name = _WITH_ZEROS[form]
                gained = ratio.median / ratios[whole].median
                owed = f"; {gained:.2f} times {name} with zeros left in, {gained / found.reduction:.2f} of the MACs"
            said.append(f"  {ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f}): {form}{owed}")
    if why := one_call.missing():
        said.append(f"nothing was computed in one call: {why}")
    return [
        *said,
        "of the MACs: what leaving zeros out gains in the same form, over how many times fewer MACs there are.",
        "CPU time of one thread in turns with the masked encoder, median and 95 % interval.",
    ]


def _batch(images: Tensor, count: int) -> Tensor:
    return images[torch.arange(count) % len(images)].contiguous(memory_format=torch.channels_last)


def _forward(encoder: nn.Module, batch: Tensor) -> Callable[[], object]:
    return lambda: encoder(batch)
