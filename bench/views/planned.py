"""The two views of a whole batch by PyTorch, on any device and in any size: what the compiled kernel is held to."""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.views import blur, pillow, resample
from bench.views.parameters import HUE_SLOT, NO_JITTER, Parameters
from bench.views.pixels import normalised

# Pixels of the views that are made at once; changes no bit. On the CPU 128 views of 32 pixels: more leave the caches.
# On a GPU, whose launches cost, whole batches: 32,768 such views, or 668 of 224 pixels in 400 MB a copy.
CPU_PIXELS, GPU_PIXELS = 2**17, 2**25


@dataclass(frozen=True, slots=True)
class Plan:
    """Which views of a chunk are to undergo what: made on the CPU, so that no device is ever asked and waited for.

    Views are handled in the order of their hue slot, so that each group is one contiguous run.

    Attributes:
        which: the parameters, in the order of handling, on the device.
        sources: ``[N]`` rows of the chunk's images.
        targets: ``[N]`` rows of the views.
        hue_ends: ends of the runs whose hue turns before, between and behind the other jitters.
        jittered: how many are jittered; they come first.
        grey: rows that lose their colour. blurred: rows that are blurred. solarised: rows that are inverted.
        tall: rows whose crops are resampled by columns first.
    """

    which: Parameters
    sources: Tensor
    targets: Tensor
    hue_ends: list[int]
    jittered: int
    grey: Tensor
    blurred: Tensor
    solarised: Tensor
    tall: Tensor

    @classmethod
    def of(cls, table: Tensor, size: int, *, start: int, batch: int, device: torch.device) -> "Plan":
        """Plan a chunk.

        Args:
            table: ``[B, 2, 22]`` parameters of its images, on the CPU.
            size: of the views.
            start: its first image's place in the batch.
            batch: images of the whole batch: the second views come behind its first ones.
            device: where the views are made.
        """
        count = len(table)
        rows = table.transpose(0, 1).flatten(0, 1)
        slots, order = torch.sort(rows[:, HUE_SLOT].contiguous(), stable=True)
        *hue_ends, jittered = torch.searchsorted(slots, torch.arange(1.0, NO_JITTER + 1)).tolist()
        rows, sources = rows[order], order % count
        by_name = Parameters.of(rows)  # on the CPU: lists are made without asking a device
        tall = resample.is_tall(by_name.width, by_name.height, size)
        chosen = [each.nonzero()[:, 0] for each in (by_name.grey, by_name.blurred, by_name.solarised, tall)]
        lists = [sources, start + sources + batch * (order >= count), *chosen]
        sent = _sent(torch.cat(lists), device).split([len(each) for each in lists])
        if device.type != "cpu":
            by_name = Parameters.of(_sent(rows, device))
        sources, targets, *rows_of = sent
        return cls(by_name, sources, targets, hue_ends, jittered, *rows_of)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, without waiting for it: pinned memory is copied while the CPU goes on."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def made(images: Tensor, table: Tensor, size: int, *, blurs_last: bool) -> Tensor:
    """Return both views of images, normalised, ``[2B, 3, size, size]`` channels-last: the second ones behind the first.

    Args:
        images: ``[B, 3, P, P]`` bytes.
        table: ``[B, 2, 22]`` parameters of their views, on the CPU.
        size: of the views, in pixels.
        blurs_last: whether views are blurred behind the inversion.
    """
    count, device = len(images), images.device
    both = torch.empty(2 * count, 3, size, size, device=device, memory_format=torch.channels_last)
    at_once = max(1, (CPU_PIXELS if device.type == "cpu" else GPU_PIXELS) // (2 * size * size))
    for start in range(0, count, at_once):
        chunk = slice(start, start + at_once)
        plan = Plan.of(table[chunk], size, start=start, batch=count, device=device)
        both.index_copy_(0, plan.targets, _of_plan(images[chunk], plan, size, blurs_last=blurs_last))
    return both


def _of_plan(images: Tensor, plan: Plan, side: int, *, blurs_last: bool) -> Tensor:
    """Return the planned views, normalised, ``[N, 3, side, side]``, in the order of the plan.

    Args:
        images: ``[B, 3, P, P]`` bytes.
        plan: of these images.
        side: of the views.
        blurs_last: whether views are blurred behind the inversion.
    """
    which, planes = plan.which, _cropped(images, plan, side)
    for slot, (start, stop) in enumerate(itertools.pairwise([0, *plan.hue_ends])):
        if stop > start:
            pillow.turn_hue(planes[:, start:stop], which.hue_shift[start:stop, None])
        if slot < len(which.jitters) and plan.jittered:
            _jitter(planes[:, : plan.jittered], *(column[: plan.jittered, None] for column in which.jitters[slot]))
    steps = [(plan.blurred, lambda chosen: _blurred(chosen, plan, side)), (plan.solarised, pillow.solarised)]
    for rows, operation in [(plan.grey, pillow.grey), *(reversed(steps) if blurs_last else steps)]:
        if len(rows):
            changed = operation(planes.index_select(1, rows))
            planes.index_copy_(1, rows, changed.expand(3, *changed.shape[-2:]))
    return normalised(planes)


def _cropped(images: Tensor, plan: Plan, side: int) -> Tensor:
    """Return the crops, made squares of one size, as planes."""
    which, chosen = plan.which, images.index_select(0, plan.sources)
    if resample.is_exact_in_floats(images.shape[-1], side):
        return resample.multiplied(
            chosen,
            resample.tent(which.left, which.width, which.mirrored, side),
            resample.tent(which.top, which.height, torch.zeros_like(which.mirrored), side),
        )
    box = which.left, which.width, which.top, which.height
    return resample.gathered(chosen, box, which.mirrored, side, plan.tall)


def _jitter(planes: Tensor, factor: Tensor, is_contrast: Tensor, is_saturation: Tensor) -> None:
    """Blend against the mean grey, the pixel's own grey or, for brightness, black."""
    greys = pillow.grey(planes)
    means = pillow.mean_grey(greys)
    pillow.blend(planes, greys.mul_(is_saturation).add_(means.mul_(is_contrast)), factor)


def _blurred(planes: Tensor, plan: Plan, side: int) -> Tensor:
    middle, neighbour, beyond = (weight.index_select(0, plan.blurred) for weight in plan.which.box)
    return blur.blurred(planes, (middle, neighbour, beyond), side)
