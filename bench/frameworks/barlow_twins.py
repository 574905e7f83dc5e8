"""Barlow Twins (Zbontar et al., ICML 2021, arXiv 2103.03230): the views' features correlate one to one."""

import torch
from lightly.loss import BarlowTwinsLoss
from lightly.models.modules.heads import BarlowTwinsProjectionHead
from torch import Tensor, nn

from bench.config.framework import BarlowTwinsSpec
from bench.frameworks.base import Framework, Wiring
from methods import masking
from methods.macs import Passes


class BarlowTwins(Framework):
    """The tied twin sees view 1: the same weights, its own masks.

    Over ranks, Lightly sums correlations, but means and deviations of embeddings are each rank's own. So a run on
    two ranks is not the run on one, in this as in other batch normalisation.
    """

    passes = Passes(online=1, target_trained=1, target_forward=0)
    tied = True

    def __init__(self, encoder: nn.Module, features: int, spec: BarlowTwinsSpec, wiring: Wiring) -> None:
        """Take an encoder with masks installed."""
        super().__init__()
        self.loss_scale = spec.loss_scale
        self.online = encoder
        self.target = masking.twin(encoder, own_statistics=wiring.own_statistics)
        self.projection = BarlowTwinsProjectionHead(features, spec.hidden_dim, spec.output_dim)
        self.criterion = BarlowTwinsLoss(lambda_param=spec.redundancy_weight, gather_distributed=wiring.gather)

    def loss(self, view0: Tensor, view1: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return the loss (eq. 1), scaled: it is a sum over the embedding's dimensions, not a mean."""
        z0 = self.projection(self.online(view0))
        z1 = self.projection(self.target(view1))
        with torch.autocast(z0.device.type, enabled=False):
            loss: Tensor = self.criterion(z0.float(), z1.float())
        return self.loss_scale * loss
