"""BYOL (Grill et al., NeurIPS 2020, arXiv 2006.07733): predict the EMA target's projection of the other view."""

import copy

import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules.heads import BYOLPredictionHead, BYOLProjectionHead
from lightly.models.utils import deactivate_requires_grad
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn

from bench.config.framework import BYOLSpec
from bench.frameworks.base import Framework, Wiring, follow
from methods.macs import Passes


class BYOL(Framework):
    """The target is an EMA copy of encoder and projection; BatchNorm buffers come from its own passes."""

    passes = Passes(online=2, target_trained=0, target_forward=2)
    tied = False

    def __init__(self, encoder: nn.Module, features: int, spec: BYOLSpec, wiring: Wiring) -> None:  # noqa: ARG002
        """Take an encoder with masks installed. The loss needs no negatives, so nothing is gathered."""
        super().__init__()
        self.ema_start, self.ema_end = spec.ema_start, spec.ema_end
        self.online = encoder
        self.projection = BYOLProjectionHead(features, spec.hidden_dim, spec.output_dim)
        self.prediction = BYOLPredictionHead(spec.output_dim, spec.prediction_dim, spec.output_dim)
        self.target = copy.deepcopy(encoder)
        self.target_projection = copy.deepcopy(self.projection)
        deactivate_requires_grad(self.target)
        deactivate_requires_grad(self.target_projection)
        self.criterion = NegativeCosineSimilarity()

    def loss(self, view0: Tensor, view1: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return the sum of the two symmetric terms; their mean cost 11 points (lightly PR #1286; deviation 9)."""
        prediction0 = self.prediction(self.projection(self.online(view0)))
        prediction1 = self.prediction(self.projection(self.online(view1)))
        with torch.no_grad():
            target1 = self.target_projection(self.target(view1))
            target0 = self.target_projection(self.target(view0))
        with torch.autocast(prediction0.device.type, enabled=False):
            first: Tensor = self.criterion(prediction0.float(), target1.float())
            second: Tensor = self.criterion(prediction1.float(), target0.float())
        return first + second

    def update_target(self, step: int, total_steps: int) -> None:
        """Move the target's latents: xi <- m xi + (1 - m) theta, m on a cosine (section 3.3, appendix F)."""
        momentum = cosine_schedule(step, total_steps, self.ema_start, self.ema_end)
        follow(self.online, self.target, momentum)
        follow(self.projection, self.target_projection, momentum)
