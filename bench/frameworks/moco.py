"""MoCo v2 (He et al., CVPR 2020, arXiv 1911.05722; Chen et al. 2020, arXiv 2003.04297): a query among stored keys."""

import copy

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import MoCoProjectionHead
from lightly.models.utils import deactivate_requires_grad
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn

from bench.config.framework import MoCoSpec
from bench.errors import RunError
from bench.frameworks.base import Framework, Wiring, follow
from methods.macs import Passes


class MoCo(Framework):
    """The online encoder makes the query of view 0; the target, an EMA copy, makes the key of view 1.

    Asymmetric, as published: Lightly's and solo-learn's versions also take the views the other way round. Batches
    are not shuffled between devices for batch normalisation (section 3.3): within one process that changes nothing.
    """

    passes = Passes(online=1, target_trained=0, target_forward=1)
    tied = False

    def __init__(self, encoder: nn.Module, features: int, spec: MoCoSpec, wiring: Wiring) -> None:
        """Take an encoder with masks installed. The queue starts with random directions, as in the authors' code."""
        super().__init__()
        self.ema_start, self.ema_end, self.queue_size = spec.ema_start, spec.ema_end, spec.queue_size
        self.online = encoder
        self.projection = MoCoProjectionHead(features, spec.hidden_dim, spec.output_dim)
        self.target = copy.deepcopy(encoder)
        self.target_projection = copy.deepcopy(self.projection)
        deactivate_requires_grad(self.target)
        deactivate_requires_grad(self.target_projection)
        self.criterion = NTXentLoss(
            temperature=spec.temperature,
            memory_bank_size=(spec.queue_size, spec.output_dim),
            gather_distributed=wiring.gather,
        )

    def require(self, *, batch_images: int, train_images: int) -> None:
        """Refuse a queue that would lose keys, or hold the positive of many queries among its negatives.

        Lightly's bank drops the end of a batch that does not fit at its end. A queue is a window on the last keys;
        with more than a quarter of the images (ours), it spans a good part of the last epoch.

        Raises:
            RunError: if the queue is no multiple of the batch, or larger than a quarter of the images.
        """
        if self.queue_size % batch_images or not batch_images <= self.queue_size <= train_images // 4:
            raise RunError(
                f"moco: a queue of {self.queue_size} keys does not suit batches of {batch_images} and {train_images} "
                f"train images: it must be a multiple of the batch and at most a quarter of the images "
                f"({train_images // 4}). Set queue_size, use a smaller batch, or more images."
            )

    def loss(self, view0: Tensor, view1: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return InfoNCE (eq. 1) of queries against their keys and the queue; the keys then join the queue."""
        query = self.projection(self.online(view0))
        with torch.no_grad():
            key = self.target_projection(self.target(view1))
        with torch.autocast(query.device.type, enabled=False):
            loss: Tensor = self.criterion(query.float(), key.float())
        return loss

    def update_target(self, step: int, total_steps: int) -> None:
        """Move the target's latents (eq. 2). MoCo's momentum is constant, solo-learn's rises: equal ends give both."""
        momentum = cosine_schedule(step, total_steps, self.ema_start, self.ema_end)
        follow(self.online, self.target, momentum)
        follow(self.projection, self.target_projection, momentum)

    def unsaved_buffers(self) -> dict[str, Tensor]:
        """Return the queue and its place: Lightly's bank is not in its ``state_dict``."""
        return {"bank": self.criterion.memory_bank.bank, "bank_ptr": self.criterion.memory_bank.bank_ptr}
