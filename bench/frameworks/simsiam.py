"""SimSiam (Chen & He, CVPR 2021, arXiv 2011.10566): predict the other view's projection, which gets no gradient."""

import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead
from torch import Tensor, nn

from bench.config.framework import SimSiamSpec
from bench.frameworks.base import Framework, Wiring
from methods import masking
from methods.macs import Passes


class SimSiam(Framework):
    """The tied twin sees view 1: the same weights, its own masks. Both views are predicted, so both are trained on."""

    passes = Passes(online=1, target_trained=1, target_forward=0)
    tied = True

    def __init__(self, encoder: nn.Module, features: int, spec: SimSiamSpec, wiring: Wiring) -> None:
        """Take an encoder with masks installed. The loss needs no negatives, so nothing is gathered."""
        super().__init__()
        self.online = encoder
        self.target = masking.twin(encoder, own_statistics=wiring.own_statistics)
        self.projection = SimSiamProjectionHead(features, spec.hidden_dim, spec.output_dim)
        self.prediction = SimSiamPredictionHead(spec.output_dim, spec.prediction_dim, spec.output_dim)
        self.criterion = NegativeCosineSimilarity()

    def loss(self, view0: Tensor, view1: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return the mean of the two symmetric terms (eq. 4); without the detachment it collapses (section 4.1)."""
        z0, z1 = self.projection(self.online(view0)), self.projection(self.target(view1))
        p0, p1 = self.prediction(z0), self.prediction(z1)
        with torch.autocast(z0.device.type, enabled=False):
            first: Tensor = self.criterion(p0.float(), z1.detach().float())
            second: Tensor = self.criterion(p1.float(), z0.detach().float())
        return (first + second) / 2
