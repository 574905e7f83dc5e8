"""Multiply-accumulates (MACs) of the encoder, at inference and over a training run.

One MAC is one multiplication with its addition; never mixed with FLOPs, which count two. Multiplications
with the zeros of the padding count; normalisation, activation, pooling and bias do not. Heads are not part
of the encoder.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from methods import masking
from methods.branches import Branches


def inference_macs(encoder: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """Return the dense MACs of each ``Conv2d`` and ``Linear`` for one image, whatever the masks.

    The encoder is not touched: a copy without data runs, in evaluation mode, on the ``meta`` device.

    Args:
        encoder: masked or plain.
        image_shape: (channels, height, width).

    Raises:
        ValueError: if the encoder has a weight that none of these layers owns: it would go uncounted.
    """
    ghost = copy.deepcopy(encoder).to("meta").eval()
    macs: dict[str, int] = {}
    counted: set[int] = set()
    for name, layer in list(ghost.named_modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            counted |= {id(parameter) for parameter in layer.parameters()}
            layer.register_forward_hook(_count(macs, name))
    for name, parameter in ghost.named_parameters():
        if parameter.ndim > 1 and id(parameter) not in counted:
            raise ValueError(f"{name}: only the MACs of Conv2d and Linear layers can be counted.")
    with torch.no_grad():
        ghost(torch.empty((1, *image_shape), device="meta"))
    return macs


def effective_macs(encoder: nn.Module, dense: Mapping[str, int]) -> dict[str, int]:
    """Return the MACs of each layer with the present masks: linear in the number of ones; exact.

    Every weight of a layer is used equally often, once per output position.

    Args:
        encoder: masked.
        dense: what ``inference_macs`` says about it.
    """
    ones = masking.counts(encoder)
    sizes = {name: weight.numel() for name, weight in masking.latent(encoder).items()}
    return {name: macs // sizes[name] * ones[name] if name in ones else macs for name, macs in dense.items()}


def density_prunable(encoder: nn.Module) -> float:
    """Return the kept fraction of the prunable weights."""
    return sum(masking.counts(encoder).values()) / _prunable(encoder)


def density_encoder(encoder: nn.Module) -> float:
    """Return the kept fraction of all encoder parameters: stem, normalisation and biases count as kept."""
    everything = sum(parameter.numel() for parameter in encoder.parameters())
    return 1.0 - (_prunable(encoder) - sum(masking.counts(encoder).values())) / everything


def macs_ratio(encoder: nn.Module, image_shape: tuple[int, int, int]) -> float:
    """Return MACs of one inference, stem and shortcuts included, as a fraction of the dense encoder's."""
    dense = inference_macs(encoder, image_shape)
    return sum(effective_macs(encoder, dense).values()) / sum(dense.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """How many views go through a branch per image and optimizer step.

    Attributes:
        online: forward and backward through the online encoder: 1 for a tied pair, 2 for BYOL's symmetric
            loss, 1 for asymmetric MoCo.
        target_trained: forward and backward through the target: 1 for a tied pair, else 0.
        target_forward: forward only through the target: 2 for BYOL, 1 for asymmetric MoCo, 0 for a tied pair.
    """

    online: int
    target_trained: int
    target_forward: int

    def training_ratio(self, online_share: float, target_share: float) -> float:
        """Return the training MACs, as a fraction of a dense run's, of branches that execute these shares forward."""
        online, target = 3 * self.online, 3 * self.target_trained + self.target_forward
        return (online * online_share + target * target_share) / (online + target)


class TrainingMacs:
    """Sum of the encoder's MACs per image over the steps of a run, with the masks of each step.

    With f the forward MACs of a branch under its present mask and F those of the dense encoder, a view that
    is trained costs 3 f: forward, gradient of the input, gradient of the weights. A view without gradient
    costs f. While the dense gradient is watched, the gradient of the weights is dense: F - f more per
    trained view. Source: Evci et al. 2020 (RigL), appendix on FLOPs, extended to two branches (ours).

    Args:
        branches: after masks were installed.
        image_shape: (channels, height, width) of a training view.
        passes: what the framework does per step.
        sides: height and width of the smaller views that some steps see.
    """

    def __init__(
        self,
        branches: Branches,
        image_shape: tuple[int, int, int],
        passes: Passes,
        sides: Iterable[int] = (),
    ) -> None:
        self._passes = passes
        self._layers = masking.Layers(branches.online), masking.Layers(branches.target)
        self._weights = {name: weight.numel() for name, weight in masking.latent(branches.online).items()}
        shapes = {0: image_shape} | {side: (image_shape[0], side, side) for side in sides}
        sizes = {side: inference_macs(branches.online, shape) for side, shape in shapes.items()}
        self._totals = {side: sum(per_layer.values()) for side, per_layer in sizes.items()}
        self._uses = {  # of each weight of a layer, by one image
            side: {name: macs // self._weights[name] for name, macs in per_layer.items() if name in self._weights}
            for side, per_layer in sizes.items()
        }
        self._seen: tuple[int, int, int] | None = None
        self._online = self._target = 0
        self._spent = 0
        self._of_dense = 0

    def observe(self, *, side: int = 0, dense_side: int | None = None) -> None:
        """Count one optimizer step. Call it between ``before_forward`` and ``on_gradient``; cheap.

        Args:
            side: of the views that the step saw, one of ``sides``; 0: whole ones.
            dense_side: of the views that the dense run sees at this step; by default the same.
        """
        passes, dense, (online, target) = self._passes, self._totals[side], self._layers
        seen = (online.version, target.version, side)
        if seen != self._seen:
            self._seen = seen
            self._online, self._target = (self._effective(layers, side) for layers in self._layers)
        self._spent += 3 * passes.online * self._online + 3 * passes.target_trained * self._target
        self._spent += passes.target_forward * self._target
        if online.has_dense_gradient:
            self._spent += passes.online * (dense - self._online)
            self._spent += passes.target_trained * (dense - self._target)
        of_dense = dense if dense_side is None else self._totals[dense_side]
        self._of_dense += (3 * passes.online + 3 * passes.target_trained + passes.target_forward) * of_dense

    def _effective(self, layers: masking.Layers, side: int) -> int:
        """Return the forward MACs of one image with the present masks."""
        pruned = {name: self._weights[name] - ones for name, ones in layers.counts().items()}
        return self._totals[side] - sum(uses * pruned[name] for name, uses in self._uses[side].items())

    @property
    def ratio(self) -> float:
        """MACs so far as a fraction of a dense run's, step by step at the size of the views that it has.

        Raises:
            ZeroDivisionError: before the first step.
        """
        return self._spent / self._of_dense

    def state_dict(self) -> dict[str, int]:
        """Return the sums so far."""
        return {"spent": self._spent, "of_dense": self._of_dense}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the sums."""
        self._spent, self._of_dense = state["spent"], state["of_dense"]


def _count(macs: dict[str, int], name: str) -> Any:
    def add(layer: nn.Conv2d | nn.Linear, _: tuple[Tensor, ...], output: Tensor) -> None:
        # The first dimension of both weights is the number of output features.
        positions = output.numel() // layer.weight.shape[0]
        macs[name] = macs.get(name, 0) + positions * layer.weight.numel()

    return add


def _prunable(encoder: nn.Module) -> int:
    return sum(weight.numel() for weight in masking.latent(encoder).values())
