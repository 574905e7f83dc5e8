"""Lightly's own transforms, image by image."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.streams import stream_seed
from bench.views.base import HostViews


class LightlyViews(HostViews):
    """Lightly's own transforms on Pillow images, seeded anew for every (epoch, sample, view)."""

    def __init__(self, transform: Any, *, seed: int) -> None:
        self._transforms = transform.transforms
        self._seed = seed

    def views(self, images: Tensor, samples: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return both views of the batch. The global random state is as before afterwards."""
        with _global_random_state_restored():
            pairs = [self.pair(image, at, epoch) for image, at in zip(images, samples.tolist(), strict=True)]
        first, second = _stacked(pairs)
        return first.to(images.device), second.to(images.device)

    def maker(self, device: torch.device) -> str:  # noqa: ARG002 (wherever they go)
        """Return what makes the views."""
        return "Lightly and Pillow, on the CPU"

    def ahead(
        self, images: Tensor, batches: Iterable[tuple[int, Tensor]], workers: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the views of one batch after another, made by worker processes some batches ahead."""
        if not workers:
            yield from (self.views(images[samples], samples, epoch) for epoch, samples in batches)
            return
        yield from DataLoader(
            _Pairs(self, images),
            batch_sampler=_Places(batches),  # a place is an epoch and a sample
            collate_fn=_stacked,
            num_workers=workers,
            prefetch_factor=4,
            pin_memory=torch.cuda.is_available(),
        )

    def pair(self, image: Tensor, sample: int, epoch: int) -> tuple[Tensor, Tensor]:
        """Return both views of one image. The global random state is another one afterwards."""
        opened = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy(force=True))
        return self._view(0, opened, sample, epoch), self._view(1, opened, sample, epoch)

    def _view(self, place: int, image: Image.Image, sample: int, epoch: int) -> Tensor:
        seed = stream_seed("lightly", self._seed, epoch, sample, place)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators, too
        np.random.seed(seed % 2**32)  # noqa: NPY002 - where Lightly's solarisation draws from
        view: Tensor = self._transforms[place](image)
        return view


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs(Dataset[tuple[Tensor, Tensor]]):
    """The views of an epoch and a sample, as a data set: made in a worker's own process."""

    maker: LightlyViews
    images: Tensor

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, sample = place
        return self.maker.pair(self.images[sample], sample, epoch)


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Batches as lists of places, as workers are asked for them."""

    batches: Iterable[tuple[int, Tensor]]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for epoch, samples in self.batches:
            yield [(epoch, sample) for sample in samples.tolist()]


def _stacked(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return _batch([first for first, _ in pairs]), _batch([second for _, second in pairs])


def _batch(views: list[Tensor]) -> Tensor:
    return torch.stack(views).contiguous(memory_format=torch.channels_last)


@contextlib.contextmanager
def _global_random_state_restored() -> Iterator[None]:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 - as above
    try:
        yield
    finally:
        torch.set_rng_state(state)
        np.random.set_state(numpy_state)  # noqa: NPY002 - as above
