"""What every framework offers the training loop."""

import abc
from dataclasses import dataclass

from lightly.models.utils import update_momentum
from torch import Tensor, nn

from methods.branches import Branches
from methods.macs import Passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """How a framework is put together, besides its own constants.

    Attributes:
        gather: share embeddings over ranks, where the loss compares images.
        own_statistics: give a tied twin running statistics of its own, as two different masks need.
    """

    gather: bool = False
    own_statistics: bool = False


class Framework(nn.Module, abc.ABC):
    """An encoder pair, its heads and its loss. Subclasses are final.

    Attributes:
        branches: the online encoder and its target.
        passes: how often a pair of views goes through each.
    """

    passes: Passes
    online: nn.Module
    target: nn.Module
    tied: bool

    @property
    def branches(self) -> Branches:
        """The two branches, online first."""
        return Branches(online=self.online, target=self.target, tied=self.tied)

    @abc.abstractmethod
    def loss(self, view0: Tensor, view1: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss, in float32.

        Args:
            view0: ``[B, 3, H, W]``, for the online encoder.
            view1: ``[B, 3, H, W]``, of the same images, for the target.
            labels: ``[B]``, int64. For supervised training alone: a test demands that others do not look at them.
        """

    def require(self, *, batch_images: int, train_images: int) -> None:
        """Refuse a run of these sizes, if need be.

        Args:
            batch_images: images of one micro-batch over all ranks.
            train_images: images of an epoch.

        Raises:
            RunError: the framework cannot train so.
        """

    def require_classes(self, classes: int) -> None:
        """Refuse labels of so many classes, if need be: once, as to look at labels in a step is to wait for them.

        Raises:
            RunError: the framework has no output for some of them.
        """

    def update_target(self, step: int, total_steps: int) -> None:
        """Move the target after the weight step. Nothing to do where the weights are shared."""

    def unsaved_buffers(self) -> dict[str, Tensor]:
        """Return state that Lightly leaves out of ``state_dict`` (the memory bank), to be saved and copied back."""
        return {}


def follow(online: nn.Module, target: nn.Module, momentum: float) -> None:
    """Move the target's parameters, paired by name and order: ``xi <- m xi + (1 - m) theta``.

    What both modules own, as a shared gate, stays as it is: Lightly's in-place update would shrink it by ``m (2 - m)``.

    Raises:
        ValueError: the two are not built alike: something was put into one alone, or in another place.
    """
    owned, others = dict(online.named_parameters()), dict(target.named_parameters())
    if list(owned) != list(others):
        raise ValueError(
            f"the target does not follow the online encoder: {sorted(owned.keys() ^ others.keys()) or 'their order'} "
            "differs. Change both modules alike, or make the target from the changed one."
        )
    pairs = [(own, others[name]) for name, own in owned.items() if own is not others[name]]
    update_momentum(*(nn.ParameterList(each) for each in zip(*pairs, strict=True)), m=momentum)
