"""SimCLR (Chen et al., ICML 2020, arXiv 2002.05709): NT-Xent between two views, one shared encoder."""

import torch
from lightly.models.modules.heads import SimCLRProjectionHead
from torch import Tensor, nn

from bench.config.framework import SimCLRSpec
from bench.frameworks.base import Framework, Wiring
from bench.frameworks.ntxent import NTXent
from methods import masking
from methods.macs import Passes


class SimCLR(Framework):
    """The tied twin sees view 1 with the same weights and its own masks (deviation 6 in results/deviations.md)."""

    passes = Passes(online=1, target_trained=1, target_forward=0)
    tied = True

    def __init__(self, encoder: nn.Module, features: int, spec: SimCLRSpec, wiring: Wiring) -> None:
        """Take an encoder with masks installed."""
        super().__init__()
        self.online = encoder
        self.target = masking.twin(encoder, own_statistics=wiring.own_statistics)
        self.projection = SimCLRProjectionHead(features, spec.hidden_dim, spec.output_dim)
        self.criterion = NTXent(temperature=spec.temperature, gather_distributed=wiring.gather)

    def loss(self, view0: Tensor, view1: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return NT-Xent (eq. 1). Views go through separately: BatchNorm sees one view at a time, as in Lightly."""
        z0 = self.projection(self.online(view0))
        z1 = self.projection(self.target(view1))
        with torch.autocast(z0.device.type, enabled=False):
            loss: Tensor = self.criterion(z0.float(), z1.float())
        return loss
