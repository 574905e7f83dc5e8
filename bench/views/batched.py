"""The two views of a whole batch at once, equal to Lightly's given the same parameters."""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.streams import stream_seed
from bench.views import pillow
from bench.views.base import SIZE, View, Views
from bench.views.pixels import normalised

AT_ONCE = 64  # images, so 128 views: more would leave the caches; changes no bit

_ATTEMPTS = 10  # RandomResizedCrop gives up after so many boxes that do not fit, and takes the whole image
_DRAWS = 2 * _ATTEMPTS + 11
_HUE = 3  # brightness, contrast, saturation, hue
_NO_HUE, _NO_JITTER = 4, 5
_ORDERS = torch.tensor(list(itertools.permutations(range(4))))  # [24, 4]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is done to each of N views: float32 ``[N]`` each.

    Attributes:
        left: of the crop. width: of the crop. top: of the crop. height: of the crop. mirrored: 1 or 0.
        hue_slot: how many of the other three jitters come before the hue; 4: no hue; 5: no jitter at all.
        hue_shift: 0 to 255. jitters: for each of the other three, in their order: factor, 1 if it is
        contrast, 1 if it is saturation. grey: 1 or 0. solarised: 1 or 0.
    """

    left: Tensor
    width: Tensor
    top: Tensor
    height: Tensor
    mirrored: Tensor
    hue_slot: Tensor
    hue_shift: Tensor
    jitters: tuple[tuple[Tensor, Tensor, Tensor], ...]
    grey: Tensor
    solarised: Tensor

    @classmethod
    def of(cls, table: Tensor) -> "Parameters":
        """Name the columns of a table ``[N, 18]`` from ``parameters``."""
        left, width, top, height, mirrored, slot, shift, *rest, grey, solarised = table.t().contiguous().unbind()
        jitters = tuple(zip(rest[:3], rest[3:6], rest[6:], strict=True))
        return cls(left, width, top, height, mirrored, slot, shift, jitters, grey, solarised)


_HUE_SLOT = 5  # its column


def parameters(view: View, draws: Tensor) -> Tensor:
    """Turn uniform numbers ``[N, 31]`` in [0, 1) into a table ``[N, 18]`` of ``Parameters``.

    Source: torchvision's ``RandomResizedCrop`` (boxes that do not fit are rejected, the corner is uniform
    over all places), ``ColorJitter``, ``RandomApply``, ``RandomGrayscale``, ``RandomHorizontalFlip``, and
    Lightly's ``RandomSolarization``: the same distributions.
    """
    areas, ratios = draws[:, :_ATTEMPTS], draws[:, _ATTEMPTS : 2 * _ATTEMPTS]
    top, left, mirrored, jitter, order, brightness, contrast, saturation, hue, grey, solarised = draws[
        :, 2 * _ATTEMPTS :
    ].unbind(1)

    area = SIZE * SIZE * (view.min_scale + (1 - view.min_scale) * areas)
    aspect = torch.exp(math.log(4 / 3) * (2 * ratios - 1))
    widths, heights = (area * aspect).sqrt_().round_(), (area / aspect).sqrt_().round_()
    fits = (widths > 0) & (widths <= SIZE) & (heights > 0) & (heights <= SIZE)
    first = fits.int().argmax(1, keepdim=True)
    none_fits = ~fits.any(1)
    width, height = (sides.gather(1, first)[:, 0].masked_fill_(none_fits, SIZE) for sides in (widths, heights))

    orders = _ORDERS[(order * len(_ORDERS)).long()]
    kinds = orders[orders != _HUE].view(-1, 3)
    strengths = torch.tensor([view.brightness, view.contrast, view.saturation])
    lowest = (1 - strengths).clamp(min=0)
    factors = lowest + (1 + strengths - lowest) * torch.stack([brightness, contrast, saturation], 1)
    hue_slot = (orders == _HUE).int().argmax(1) if view.hue else torch.full_like(kinds[:, 0], _NO_HUE)
    turn = ((2 * hue - 1) * view.hue * 255).trunc_()  # towards 0, as torchvision does
    columns = [
        (left * (SIZE - width + 1)).floor_(),
        width,
        (top * (SIZE - height + 1)).floor_(),
        height,
        mirrored < view.flip,
        hue_slot.masked_fill(jitter >= view.jitter, _NO_JITTER),
        turn.remainder_(256),
        *factors.gather(1, kinds).unbind(1),
        *(kinds == 1).unbind(1),
        *(kinds == 2).unbind(1),
        grey < view.grey,
        solarised < view.solarise,
    ]
    return torch.stack([column.float() for column in columns], 1)


def made(images: Tensor, table: Tensor) -> Tensor:
    """Return views ``[N, 3, 32, 32]`` of as many images, normalised.

    Views are handled in the order of their hue slot, so that each group is one contiguous run.

    Args:
        images: ``[N, 3, 32, 32]`` bytes.
        table: ``[N, 18]`` from ``parameters``, on the same device.
    """
    slots, order = torch.sort(table[:, _HUE_SLOT].contiguous(), stable=True)
    *hue_ends, jittered = torch.searchsorted(slots, torch.arange(1.0, _NO_JITTER + 1, device=slots.device)).tolist()
    which = Parameters.of(table[order])
    planes = pillow.resampled(
        images.index_select(0, order),
        pillow.tent(which.left, which.width, which.mirrored),
        pillow.tent(which.top, which.height, torch.zeros_like(which.mirrored)),
    )
    for slot, (start, stop) in enumerate(itertools.pairwise([0, *hue_ends[:4]])):
        if stop > start:
            pillow.turn_hue(planes[:, start:stop], which.hue_shift[start:stop, None])
        if slot < len(which.jitters) and jittered:
            _jitter(planes[:, :jittered], *(column[:jittered, None] for column in which.jitters[slot]))
    for chosen, operation in ((which.grey, pillow.grey), (which.solarised, pillow.solarised)):
        rows = chosen.nonzero()[:, 0]
        changed = operation(planes.index_select(1, rows))
        planes.index_copy_(1, rows, changed.expand(3, *changed.shape[-2:]))
    views = torch.empty_like(images, dtype=torch.float32, memory_format=torch.channels_last)
    return views.index_copy_(0, order, normalised(planes))


def _jitter(planes: Tensor, factor: Tensor, is_contrast: Tensor, is_saturation: Tensor) -> None:
    """Blend against the mean grey, the pixel's own grey or, for brightness, black."""
    greys = pillow.grey(planes)
    means = greys.sum(1, keepdim=True).mul_(1 / pillow.PIXELS).add_(0.5).floor_()
    pillow.blend(planes, greys.mul_(is_saturation).add_(means.mul_(is_contrast)), factor)


class BatchedViews(Views):
    """Views of whole batches, from one table of parameters an epoch, indexed by (sample, view)."""

    def __init__(self, recipe: tuple[View, View], *, seed: int, images: int) -> None:
        self._recipe = recipe
        self._seed = seed
        self._images = images
        self._epoch = -1
        self._table = torch.empty(0)

    def views(self, images: Tensor, samples: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return both views of the batch."""
        if epoch != self._epoch:
            self._table, self._epoch = self.table(epoch), epoch
        table = self._table[samples].to(images.device)
        pairs = [
            made(batch.repeat(2, 1, 1, 1), rows.transpose(0, 1).flatten(0, 1)).chunk(2)
            for batch, rows in zip(torch.split(images, AT_ONCE), torch.split(table, AT_ONCE), strict=True)
        ]
        first, second = (torch.cat(views) for views in zip(*pairs, strict=True))
        return first, second

    def table(self, epoch: int) -> Tensor:
        """Return the ``parameters`` of all views of an epoch: ``[images, 2, 18]``."""
        generator = torch.Generator().manual_seed(stream_seed("views", self._seed, epoch))
        draws = torch.rand(self._images, 2, _DRAWS, generator=generator)
        return torch.stack([parameters(view, draws[:, place]) for place, view in enumerate(self._recipe)], 1)
