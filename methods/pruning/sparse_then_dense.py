"""Sparse, then dense: cheap steps first, and every weight at the end."""

import torch
from torch.optim import Optimizer

from methods import masking, scores
from methods.allocation import erk
from methods.branches import Branches
from methods.granularity.select import select
from methods.method import SparseMethod
from methods.schedule import window
from methods.setting import Setting, require_elementwise, require_no_ramp, require_one_mask


class SparseThenDense(SparseMethod):
    """Random ERK masks for the first part of the run; then no mask any more. The exported encoder is dense.

    What the sparsity saves is training, not inference: the density of the setting is that of the first part. Weights
    that are freed start at 0 and with no past in the optimizer. Both branches get the same mask.

    Source: Thangarasa et al. 2023 (SPDF), section 3, who train language models with static random masks and fine-tune
    them densely with the pruned weights at 0; for contrastive learning and the share of the run: ours, deviation 31 in
    results/deviations.md.

    Args:
        setting: ``density`` is that of the sparse part.
        sparse_fraction: of the run that is sparse.
    """

    def __init__(self, setting: Setting, *, sparse_fraction: float = 0.7) -> None:
        super().__init__()
        require_elementwise(setting, "sparse-then-dense")
        require_no_ramp(setting, "sparse-then-dense")
        require_one_mask(setting, "sparse-then-dense")
        if not 0.0 <= sparse_fraction < 1.0:
            raise ValueError(f"sparse_fraction {sparse_fraction} is outside [0, 1): the run ends dense.")
        self._setting = setting
        self._sparse_fraction = sparse_fraction

    @property
    def window(self) -> tuple[float, float]:
        """From the start to where the masks are taken away."""
        return 0.0, self._sparse_fraction

    @property
    def ends_dense(self) -> bool:
        """True."""
        return True

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Draw the masks."""
        setting = self._setting
        _, self._last, _ = window(total_steps, 0.0, self._sparse_fraction, 1.0)
        self._branches = branches
        latents = masking.latent(branches.online)
        ones = erk({name: weight.shape for name, weight in latents.items()}, setting.density)
        drawn = scores.random(latents, torch.Generator().manual_seed(setting.seed))
        branches.write(select(drawn, ones, setting.granularity), candidates="active")

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:
        """Take the masks away, when due: this step's gradient is still the sparse one."""
        if step == self._last:
            masks = {name: torch.ones_like(mask) for name, mask in masking.read(self._branches.online).items()}
            self._branches.write(masks, optimizer, candidates="active")
            self.history.add(step, density=1.0)
        return True
