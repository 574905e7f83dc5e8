"""A narrower dense encoder, cut out of the wide one by a mask: the control that sparse training has to beat."""

from collections.abc import Mapping

import torch
from torch import Tensor

from methods import masking
from methods.branches import Branches
from methods.granularity.base import budget
from methods.masking import Masks
from methods.method import SparseMethod
from methods.setting import Setting, require_elementwise, require_no_ramp, require_one_mask


class Narrow(SparseMethod):
    """Every layer keeps the same share of its output and of its input channels, the first ones, for the whole run.

    What is left is a dense encoder of so many channels: nothing reads a channel that is left out, but in the first
    stage, whose shortcut carries the stem's, and in the features, where it is a constant. The share is the one whose
    weights come nearest to the density: whole channels cannot meet it exactly. Both branches get the mask.

    Source: ours. Papers on sparse training compare with dense training at full width, and leave out dense training at
    the cost of theirs (deviation 41).

    Args:
        setting: ``density`` is the share of the prunable weights that the narrow encoder has.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        require_elementwise(setting, "dense_narrow")
        require_one_mask(setting, "dense_narrow")
        require_no_ramp(setting, "dense_narrow")
        self._density = setting.density

    def attach(self, branches: Branches, total_steps: int) -> None:  # noqa: ARG002 (the mask never moves)
        """Write the mask."""
        latents = masking.latent(branches.online)
        branches.write(narrowed({name: latent.shape for name, latent in latents.items()}, self._density, like=latents))


def narrowed(shapes: Mapping[str, torch.Size], density: float, *, like: Mapping[str, Tensor]) -> Masks:
    """Return masks of the first channels whose number of weights is the nearest to the density's; of two, the smaller.

    Args:
        shapes: of the weights, (out, in / groups, ...).
        density: fraction kept.
        like: on whose devices the masks shall be.

    Raises:
        ValueError: if the density is outside (0, 1].
    """
    wanted = budget(sum(shape.numel() for shape in shapes.values()), density)
    # The shares at which some layer has a whole number of channels.
    sizes = {channels for shape in shapes.values() for channels in shape[:2]}
    shares = {kept / channels for channels in sizes for kept in range(1, channels + 1)}
    share = min(shares, key=lambda each: (abs(sum(_ones(shape, each) for shape in shapes.values()) - wanted), each))
    masks = {}
    for name, shape in shapes.items():
        masks[name] = torch.zeros(shape, device=like[name].device)
        masks[name][: _kept(shape[0], share), : _kept(shape[1], share)] = 1.0
    return masks


def _kept(channels: int, share: float) -> int:
    """Return the channels of a layer at a share: the nearest whole number, one at least."""
    return max(1, int(share * channels + 0.5))


def _ones(shape: torch.Size, share: float) -> int:
    return _kept(shape[0], share) * _kept(shape[1], share) * shape[2:].numel()
