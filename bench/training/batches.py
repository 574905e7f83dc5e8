"""What a step is fed: which images, in which order, and their two views."""

import hashlib
import os
from collections.abc import Iterator

import torch
from lightning_fabric import Fabric
from torch import Tensor

from bench.config.run import Run
from bench.data.dataset import Dataset
from bench.views import kernel, pixels, recipes
from bench.views.base import HostViews

RESIDENT_SHARE = 0.25  # of an accelerator's free memory: larger train splits stay on the host
MOST_VIEW_WORKERS = 16  # processes that make views for one rank


class Batches:
    """The micro-batches of a run, on this rank's device.

    The order of an epoch is the same whatever the batch, the ranks or the resume point. On an accelerator, images,
    labels and order lie on it, where they fit: then no step waits for a copy. Views that are made on the host are made
    ahead, by processes of their own.

    Args:
        run: the run.
        dataset: its images.
        fabric: this rank's place among all; each takes its share of every micro-batch.
    """

    def __init__(self, run: Run, dataset: Dataset, fabric: Fabric) -> None:
        self._spec, self._seed, self._fabric = run.optimizer, run.seed, fabric
        train, device = dataset.train, fabric.device
        self._views = recipes.build(
            run.views, seed=run.seed, images=len(train.images), side=train.images.shape[-1], size=train.size
        )
        is_resident = device.type == "cuda" and not isinstance(self._views, HostViews) and _fits(train.images, device)
        self._images = train.images.to(device) if is_resident else train.images
        self._labels = train.labels.to(device)
        self._epoch, self._order, self._order_there = -1, torch.empty(0), torch.empty(0)
        self._next = -1
        self._ahead: Iterator[tuple[Tensor, Tensor]] = iter(())
        self.steps_per_epoch = run.steps_per_epoch(len(train.images))
        self.total_steps = run.total_steps(len(train.images))
        self._sides = run.views

    def side(self, step: int, *, as_control: bool = True) -> int:
        """Return the side of the views of a step in pixels, or of the other rows' views then; 0: whole."""
        return self._sides.pixels_at(step, self.total_steps, as_control=as_control)

    def of(self, step: int, micro: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return both views ``[B, 3, H, W]`` and the labels ``[B]`` of one micro-batch of an optimizer step."""
        place = step * self._spec.accumulate_batches + micro
        epoch, mine = self._where(place)
        self._turn_to(epoch)
        there = self._order_there[mine]
        view0, view1 = self._views_of(place, epoch, mine, there)
        side = self.side(step)
        if side:
            view0, view1 = (reduced(view, side) for view in (view0, view1))
        return view0, view1, self._labels[there]

    def _views_of(self, place: int, epoch: int, mine: slice, there: Tensor) -> tuple[Tensor, Tensor]:
        """Return both views of a micro-batch: of images on the device or sent there, or made ahead on the host."""
        device = self._fabric.device
        if not isinstance(self._views, HostViews):
            samples, is_here = self._order[mine], self._images.device == device
            chosen = self._images.index_select(0, there if is_here else samples)
            images = chosen if is_here else _sent(chosen, device)
            return self._views.views(images, samples, epoch)
        if place != self._next:
            workers = 0 if device.type == "cpu" else _workers(self._fabric.world_size)
            self._ahead = self._views.ahead(self._images, self._places_from(place), workers)
        self._next = place + 1
        view0, view1 = next(self._ahead)
        return _sent(view0, device), _sent(view1, device)

    def _where(self, place: int) -> tuple[int, slice]:
        """Return the epoch of a micro-batch, counted from the first, and this rank's part of its order."""
        epoch, position = divmod(place, self.steps_per_epoch * self._spec.accumulate_batches)
        start = position * self._spec.batch_images
        return epoch, slice(start + self._fabric.global_rank, start + self._spec.batch_images, self._fabric.world_size)

    def _places_from(self, place: int) -> Iterator[tuple[int, Tensor]]:
        """Yield epoch and samples of every micro-batch from one on."""
        order, order_epoch = torch.empty(0), -1
        for each in range(place, self.total_steps * self._spec.accumulate_batches):
            epoch, mine = self._where(each)
            if epoch != order_epoch:
                order, order_epoch = self._order_of(epoch), epoch
            yield epoch, order[mine]

    def _turn_to(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._order, self._epoch = self._order_of(epoch), epoch
            self._order_there = self._order.to(self._fabric.device)

    def _order_of(self, epoch: int) -> Tensor:
        digest = hashlib.sha256(f"order/{self._seed}/{epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        return torch.randperm(len(self._images), generator=generator)


def reduced(views: Tensor, side: int) -> Tensor:
    """Return views ``[B, 3, H, W]`` as ``[B, 3, side, side]``, each pixel the mean of the area it covers."""
    return kernel.reduced(views, side) if kernel.reduces(views, side) else pixels.reduced(views, side)


def _fits(images: Tensor, device: torch.device) -> bool:
    """Return whether images may stay on an accelerator for the whole run."""
    free, _ = torch.cuda.mem_get_info(device)
    return images.numel() <= RESIDENT_SHARE * free


def _workers(ranks: int) -> int:
    """Return how many processes make views for one rank of this machine."""
    return min(MOST_VIEW_WORKERS, max(1, len(os.sched_getaffinity(0)) // ranks))


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, without waiting for an accelerator's copy of it."""
    if device.type != "cuda":
        return tensor.to(device)
    return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)
