"""What a step is fed: which images, in which order, and their two views."""

import hashlib

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional

from bench.config.run import Run
from bench.data.dataset import Dataset
from bench.views import recipes


class Batches:
    """The micro-batches of a run, on this rank's device.

    The order of an epoch is the same whatever the batch, the ranks or the resume point.

    Args:
        run: the run.
        dataset: its images.
        fabric: this rank's place among all; each takes its share of every micro-batch.
    """

    def __init__(self, run: Run, dataset: Dataset, fabric: Fabric) -> None:
        self._train, self._spec, self._seed, self._fabric = dataset.train, run.optimizer, run.seed, fabric
        self._views = recipes.build(run.views, seed=run.seed, images=len(dataset.train.images))
        self._epoch, self._order = -1, torch.empty(0)
        self.steps_per_epoch = run.steps_per_epoch(len(dataset.train.images))
        self.total_steps = run.total_steps(len(dataset.train.images))
        self._small_pixels, self._small_steps = run.views.small_pixels, run.views.small_steps(self.total_steps)

    def are_small(self, step: int) -> bool:
        """Return whether the views of a step are reduced ones."""
        return step < self._small_steps

    def of(self, step: int, micro: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return both views ``[B, 3, H, W]`` and the labels ``[B]`` of one micro-batch of an optimizer step."""
        epoch, position = divmod(step, self.steps_per_epoch)
        size, device = self._spec.batch_images, self._fabric.device
        start = (position * self._spec.accumulate_batches + micro) * size
        samples = self._samples(epoch)[start : start + size][self._fabric.global_rank :: self._fabric.world_size]
        view0, view1 = self._views.views(self._train.images[samples].to(device), samples, epoch)
        if self.are_small(step):
            view0, view1 = (reduced(view, self._small_pixels) for view in (view0, view1))
        return view0, view1, self._train.labels[samples].to(device)

    def _samples(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            digest = hashlib.sha256(f"order/{self._seed}/{epoch}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
            self._order, self._epoch = torch.randperm(len(self._train.images), generator=generator), epoch
        return self._order


def reduced(views: Tensor, pixels: int) -> Tensor:
    """Return views ``[B, 3, H, W]`` as ``[B, 3, pixels, pixels]``, each pixel the mean of the area it covers."""
    small = functional.interpolate(views, size=(pixels, pixels), mode="area")
    return small.contiguous(memory_format=torch.channels_last)
