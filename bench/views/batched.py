"""The two views of a whole batch at once, equal to Lightly's given the same parameters.

A compiled kernel makes them where it can, several times faster and with the same bits; PyTorch makes all others.
"""

import torch
from torch import Tensor

from bench.streams import stream_seed
from bench.views import kernel, planned
from bench.views.base import View, Views
from bench.views.parameters import BLUR_DRAWS, DRAWS, parameters


class BatchedViews(Views):
    """Views of whole batches, from one table of parameters an epoch, indexed by (sample, view).

    Args:
        recipe: of the first and the second view.
        seed: of the run.
        images: how many the train split has.
        side: of these images, in pixels.
        size: of the views; that of the images unless given.
        compiled: whether the kernel makes them where it can; it changes no bit.
    """

    def __init__(
        self, recipe: tuple[View, View], *, seed: int, images: int, side: int, size: int = 0, compiled: bool = True
    ) -> None:
        assert recipe[0].blurs_last == recipe[1].blurs_last, "both views are made together"
        self._recipe = recipe
        self._seed = seed
        self._images = images
        self._side, self._size = side, size or side
        self._is_compiled = compiled
        self._epoch = -1
        self._table = torch.empty(0)

    def views(self, images: Tensor, samples: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return both views of the batch."""
        if epoch != self._epoch:
            self._table, self._epoch = self.table(epoch), epoch
        table, blurs_last = self._table.index_select(0, samples), self._recipe[0].blurs_last
        if self._lacks(images.device):
            both = planned.made(images, table, self._size, blurs_last=blurs_last)
        else:
            both = kernel.made(images, table, blurs_last=blurs_last)
        return both[: len(images)], both[len(images) :]

    def maker(self, device: torch.device) -> str:
        """Return what makes the views on a device, and why PyTorch does where the kernel does not."""
        lacks = self._lacks(device)
        return f"PyTorch ({lacks})" if lacks else "the compiled kernel"

    def table(self, epoch: int) -> Tensor:
        """Return the ``parameters`` of all views of an epoch: ``[images, 2, 22]``."""
        draws = self._draws("views", epoch, DRAWS)
        blurs = self._draws("views-blur", epoch, BLUR_DRAWS) if any(view.blur for view in self._recipe) else None
        tables = [
            parameters(view, draws[:, place], self._side, None if blurs is None else blurs[:, place])
            for place, view in enumerate(self._recipe)
        ]
        return torch.stack(tables, 1)

    def _lacks(self, device: torch.device) -> str:
        """Return why the kernel cannot make these views; nothing where it can."""
        if not self._is_compiled:
            return "as was asked"
        if device.type != "cpu":
            return f"the kernel is for CPUs, not {device.type}"
        return kernel.missing(self._side, self._size)

    def _draws(self, stream: str, epoch: int, numbers: int) -> Tensor:
        generator = torch.Generator().manual_seed(stream_seed(stream, self._seed, epoch))
        return torch.rand(self._images, 2, numbers, generator=generator)
