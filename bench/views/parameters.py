"""What is done to each view, drawn from uniform numbers: a table with a row a view, made on the CPU."""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.views.base import View
from bench.views.blur import WHOLE, box_weights

_ATTEMPTS = 10  # RandomResizedCrop gives up after so many boxes that do not fit, and takes the whole image
DRAWS = 2 * _ATTEMPTS + 11
BLUR_DRAWS = 2  # numbers of their own, so that recipes without blur draw what they always drew
_HUE = 3  # brightness, contrast, saturation, hue
NO_HUE, NO_JITTER = 4, 5
HUE_SLOT = 5  # its column
_ORDERS = torch.tensor(list(itertools.permutations(range(4))))  # [24, 4]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is done to each of N views: float32 ``[N]`` each.

    Attributes:
        left: of the crop. width: of the crop. top: of the crop. height: of the crop. mirrored: 1 or 0.
        hue_slot: how many of the other three jitters come before the hue; 4: no hue; 5: no jitter at all.
        hue_shift: 0 to 255. jitters: for each of the other three, in their order: factor, 1 if it is
        contrast, 1 if it is saturation. grey: 1 or 0. solarised: 1 or 0. blurred: 1 or 0. box: the weights of
        ``blur.box_weights``.
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
    blurred: Tensor
    box: tuple[Tensor, Tensor, Tensor]

    @classmethod
    def of(cls, table: Tensor) -> "Parameters":
        """Name the columns of a table ``[N, 22]`` from ``parameters``."""
        columns = table.t().contiguous().unbind()
        left, width, top, height, mirrored, slot, shift, *rest = columns[:16]
        grey, solarised, blurred, middle, neighbour, beyond = columns[16:]
        jitters = tuple(zip(rest[:3], rest[3:6], rest[6:], strict=True))
        box = middle, neighbour, beyond
        return cls(left, width, top, height, mirrored, slot, shift, jitters, grey, solarised, blurred, box)


def parameters(view: View, draws: Tensor, side: int, blur_draws: Tensor | None = None) -> Tensor:
    """Turn uniform numbers in [0, 1) into a table ``[N, 22]`` of ``Parameters``.

    Source: torchvision's ``RandomResizedCrop`` (boxes that do not fit are rejected, the corner is uniform
    over all places), ``ColorJitter``, ``RandomApply``, ``RandomGrayscale``, ``RandomHorizontalFlip``, and
    Lightly's ``RandomSolarization`` and ``GaussianBlur``: the same distributions.

    Args:
        view: the recipe.
        draws: ``[N, 31]``.
        side: of the images, in pixels.
        blur_draws: ``[N, 2]``, for a view that blurs.
    """
    areas, ratios = draws[:, :_ATTEMPTS], draws[:, _ATTEMPTS : 2 * _ATTEMPTS]
    top, left, mirrored, jitter, order, brightness, contrast, saturation, hue, grey, solarised = draws[
        :, 2 * _ATTEMPTS :
    ].unbind(1)

    area = side * side * (view.min_scale + (1 - view.min_scale) * areas)
    aspect = torch.exp(math.log(4 / 3) * (2 * ratios - 1))
    widths, heights = (area * aspect).sqrt_().round_(), (area / aspect).sqrt_().round_()
    fits = (widths > 0) & (widths <= side) & (heights > 0) & (heights <= side)
    first = fits.int().argmax(1, keepdim=True)
    none_fits = ~fits.any(1)
    width, height = (sides.gather(1, first)[:, 0].masked_fill_(none_fits, side) for sides in (widths, heights))

    orders = _ORDERS[(order * len(_ORDERS)).long()]
    kinds = orders[orders != _HUE].view(-1, 3)
    strengths = torch.tensor([view.brightness, view.contrast, view.saturation])
    lowest = (1 - strengths).clamp(min=0)
    factors = lowest + (1 + strengths - lowest) * torch.stack([brightness, contrast, saturation], 1)
    hue_slot = (orders == _HUE).int().argmax(1) if view.hue else torch.full_like(kinds[:, 0], NO_HUE)
    turn = ((2 * hue - 1) * view.hue * 255).trunc_()  # towards 0, as torchvision does
    columns = [
        (left * (side - width + 1)).floor_(),
        width,
        (top * (side - height + 1)).floor_(),
        height,
        mirrored < view.flip,
        hue_slot.masked_fill(jitter >= view.jitter, NO_JITTER),
        turn.remainder_(256),
        *factors.gather(1, kinds).unbind(1),
        *(kinds == 1).unbind(1),
        *(kinds == 2).unbind(1),
        grey < view.grey,
        solarised < view.solarise,
        *_blur_columns(view, len(draws), blur_draws),
    ]
    return torch.stack([column.float() for column in columns], 1)


def _blur_columns(view: View, count: int, draws: Tensor | None) -> tuple[Tensor, ...]:
    """Return whether each view is blurred, and the weights of the box, which float32 holds exactly."""
    if draws is None:
        return torch.zeros(count), torch.full((count,), float(WHOLE)), torch.zeros(count), torch.zeros(count)
    chosen, sigma = draws.unbind(1)
    least, greatest = view.sigmas
    return chosen < view.blur, *box_weights(least + (greatest - least) * sigma)
