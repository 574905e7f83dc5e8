"""Lightly's own transforms, image by image."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.streams import stream_seed
from bench.views.base import Views


class LightlyViews(Views):
    """Lightly's own transforms on Pillow images, seeded anew for every (epoch, sample, view)."""

    def __init__(self, transform: Any, *, seed: int) -> None:
        self._transforms = transform.transforms
        self._seed = seed

    def views(self, images: Tensor, samples: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return both views of the batch. The global random state is as before afterwards."""
        pixels = images.permute(0, 2, 3, 1).contiguous().numpy(force=True)
        opened = [Image.fromarray(each) for each in pixels]
        with _global_random_state_restored():
            first, second = (
                torch.stack([self._view(place, *pair, epoch) for pair in zip(opened, samples.tolist(), strict=True)])
                .to(images.device)
                .contiguous(memory_format=torch.channels_last)
                for place in range(2)
            )
        return first, second

    def _view(self, place: int, image: Image.Image, sample: int, epoch: int) -> Tensor:
        seed = stream_seed("lightly", self._seed, epoch, sample, place)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators, too
        np.random.seed(seed % 2**32)  # noqa: NPY002 - where Lightly's solarisation draws from
        view: Tensor = self._transforms[place](image)
        return view


@contextlib.contextmanager
def _global_random_state_restored() -> Iterator[None]:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 - as above
    try:
        yield
    finally:
        torch.set_rng_state(state)
        np.random.set_state(numpy_state)  # noqa: NPY002 - as above
