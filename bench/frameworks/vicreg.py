"""VICReg (Bardes et al., ICLR 2022, arXiv 2105.04906): invariance between views, variance and covariance within."""

import torch
from lightly.loss import VICRegLoss
from lightly.models.modules.heads import VICRegProjectionHead
from torch import Tensor, nn

from bench.config.framework import VICRegSpec
from bench.frameworks.base import Framework, Wiring
from methods import masking
from methods.macs import Passes


class VICReg(Framework):
    """The tied twin sees view 1: the same weights, its own masks."""

    passes = Passes(online=1, target_trained=1, target_forward=0)
    tied = True

    def __init__(self, encoder: nn.Module, features: int, spec: VICRegSpec, wiring: Wiring) -> None:
        """Take an encoder with masks installed."""
        super().__init__()
        self.loss_scale = spec.loss_scale
        self.online = encoder
        self.target = masking.twin(encoder, own_statistics=wiring.own_statistics)
        self.projection = VICRegProjectionHead(features, spec.hidden_dim, spec.output_dim)
        # Weights 25, 25 and 1: Lightly's defaults, and the paper's (section 4.2).
        self.criterion = VICRegLoss(gather_distributed=wiring.gather)

    def loss(self, view0: Tensor, view1: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return the loss (eq. 6), scaled."""
        z0 = self.projection(self.online(view0))
        z1 = self.projection(self.target(view1))
        with torch.autocast(z0.device.type, enabled=False):
            loss: Tensor = self.criterion(z0.float(), z1.float())
        return self.loss_scale * loss
