"""SR-STE: N:M sparsity from scratch, with masks that follow dense weights in every step."""

from collections.abc import Mapping

import torch
from torch.optim import Optimizer

from methods import masking
from methods.branches import Branches
from methods.granularity.patterned import patterned
from methods.masking import Masks
from methods.method import SparseMethod
from methods.setting import Setting, require_no_ramp, require_one_mask, require_pattern


class SrSte(SparseMethod):
    """Compute with the n largest of every m weights; move all weights by the dense gradient, and shrink the others.

    Before each forward pass the masks are taken anew from the online encoder's latents. The gradient of what the layer
    multiplied with goes straight through to the latents, pruned ones included, and pruned ones decay besides:
    ``g + decay (1 - mask) w``. The weights' gradient is therefore dense in every step; forward pass and input gradient
    are sparse. Layers that the pattern does not fit stay dense. Both branches get the same mask.

    The exported encoder has the masks of the last forward pass. The curve ``flipped`` is the share of mask entries
    that changed per step since the update noted before.

    Source: Zhou et al. 2021 (SR-STE), equation 9, and the authors' code (NM-sparsity, commit a557d6b,
    devkit/sparse_ops/sparse_ops.py, lines 36 to 63: ``Sparse_NHWC``, decay 2e-4). Transposable: Hubara et al. 2021,
    section 3. Deviation 32 in results/deviations.md.

    Args:
        setting: an N:M pattern and its density; the masks follow the weights from the first to the last step.
        transposable: n of every m outputs too, so that the transposed weight, which the input gradient is computed
            with, is N:M as well.
        decay: of pruned weights.
    """

    def __init__(self, setting: Setting, *, transposable: bool, decay: float = 2e-4) -> None:
        super().__init__()
        self._pattern = require_pattern(setting, "sr_ste")
        require_no_ramp(setting, "sr_ste")
        require_one_mask(setting, "sr_ste")
        self._setting = setting
        self._transposable = transposable
        self._decay = decay
        self._flips = 0

    @property
    def window(self) -> tuple[float, float]:
        """The whole run."""
        return 0.0, 1.0

    @property
    def follows_weights(self) -> bool:
        """True."""
        return True

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Write the masks of the initial weights."""
        self._branches = branches
        self._latents = masking.latent(branches.online)
        self._every = max(1, int(total_steps * self._setting.period_fraction + 1e-6))
        self._weights = sum(weight.numel() for weight in self._latents.values())
        self._present = self._masks()  # those of the last forward pass
        self._row = masking.flat(self._present)
        branches.write(self._present)
        branches.let_straight()

    def before_forward(self, step: int) -> None:
        """Take the masks from the weights."""
        before, self._present = self._row, self._masks()
        self._row = masking.flat(self._present)
        self._flips += int((self._row != before).count_nonzero())
        self._branches.write(self._present)
        if step % self._every == 0:
            self.history.add(step, flipped=self._flips / (self._weights * (self._every if step else 1)))
            self._flips = 0

    @torch.no_grad()
    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:  # noqa: ARG002
        """Shrink what is pruned."""
        gradients = [latent.grad for latent in self._latents.values() if latent.grad is not None]
        assert len(gradients) == len(self._latents)  # a gradient has reached each
        pruned = [(~mask).to(like) for mask, like in zip(self._present.values(), gradients, strict=True)]
        torch._foreach_addcmul_(gradients, pruned, list(self._latents.values()), value=self._decay)
        return True

    def state(self) -> dict[str, object]:
        """Return what was counted since the last note; the masks are in the modules."""
        return {"flips": self._flips}

    def restore(self, state: Mapping[str, int]) -> None:
        """Restore what was counted; the masks are those that the online encoder has by now."""
        self._flips = state["flips"]
        self._present = {name: mask.bool() for name, mask in masking.read(self._branches.online).items()}
        self._row = masking.flat(self._present)

    def _masks(self) -> Masks:
        return patterned(self._latents, self._pattern, transposable=self._transposable)
