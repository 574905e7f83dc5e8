"""Supervised training: what self-supervised rows are compared with, at the same encoder and epochs."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.config.framework import SupervisedSpec
from bench.errors import RunError
from bench.frameworks.base import Framework, Wiring
from methods import masking
from methods.macs import Passes


class Supervised(Framework):
    """A linear classifier on the encoder, cross-entropy on view 0.

    There is one branch, but every method writes the masks of two: the target is a twin on the same weights that no
    view goes through. It is not ``tied``, because no gradient comes from it; its masks change nothing.
    """

    passes = Passes(online=1, target_trained=0, target_forward=0)
    tied = False

    def __init__(self, encoder: nn.Module, features: int, spec: SupervisedSpec, wiring: Wiring) -> None:  # noqa: ARG002
        """Take an encoder with masks installed. Nothing is gathered, and an idle twin needs no statistics."""
        super().__init__()
        self.online = encoder
        self.target = masking.twin(encoder, own_statistics=False)
        self.classifier = nn.Linear(features, spec.output_dim)

    def loss(self, view0: Tensor, view1: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return the mean cross-entropy."""
        logits = self.classifier(self.online(view0))
        with torch.autocast(logits.device.type, enabled=False):
            return functional.cross_entropy(logits.float(), labels)

    def require_classes(self, classes: int) -> None:
        """Refuse more classes than there are outputs."""
        if classes > self.classifier.out_features:
            raise RunError(
                f"supervised: {classes} classes, but the classifier has {self.classifier.out_features} outputs. "
                "Set framework.output_dim to the number of classes."
            )
