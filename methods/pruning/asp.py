"""ASP, automatic sparsity: train densely, prune to N:M once, train on under the fixed mask."""

from torch.optim import Optimizer

from methods import masking
from methods.allocation import fitting
from methods.branches import Branches
from methods.granularity.patterned import patterned
from methods.method import SparseMethod
from methods.schedule import window
from methods.setting import Setting, require_no_ramp, require_one_mask, require_pattern


class Asp(SparseMethod):
    """Keep everything in the first part of the run; then, for good, the n largest of every m weights.

    Pruned weights are 0 from then on, with their optimizer state. Layers that the pattern does not fit stay dense.
    Both branches get the same mask.

    Source: Mishra et al. 2021, section 4 and table 2, and NVIDIA's code (apex, commit 0441afd,
    apex/contrib/sparsity/asp.py: ``init_model_for_pruning``, ``compute_sparse_masks``; sparse_masklib.py:
    ``m4n2_1d``, the pattern of largest sum along input channels). Transposable: Hubara et al. 2021, section 3.
    Deviation 33 in results/deviations.md.

    Args:
        setting: an N:M pattern and its density.
        transposable: n of every m outputs too, so that the transposed weight is N:M as well.
        dense_fraction: of the run, before the masks.
    """

    def __init__(self, setting: Setting, *, transposable: bool, dense_fraction: float = 0.5) -> None:
        super().__init__()
        self._pattern = require_pattern(setting, "asp")
        require_no_ramp(setting, "asp")
        require_one_mask(setting, "asp")
        if not 0.0 <= dense_fraction <= 0.9:
            raise ValueError(f"dense_fraction {dense_fraction} is outside [0, 0.9]: what is pruned must be trained on.")
        self._transposable = transposable
        self._dense_fraction = dense_fraction

    @property
    def window(self) -> tuple[float, float]:
        """The moment of pruning."""
        return self._dense_fraction, self._dense_fraction

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Plan the moment of pruning; the masks stay ones until then."""
        latents = masking.latent(branches.online)
        fitting({name: weight.shape for name, weight in latents.items()}, self._pattern)
        self._branches = branches
        self._due, _, _ = window(total_steps, self._dense_fraction, self._dense_fraction, 1.0)

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:
        """Prune, when due."""
        if step == self._due:
            latents = masking.latent(self._branches.online)
            masks = patterned(latents, self._pattern, transposable=self._transposable)
            self._branches.write(masks, optimizer, candidates="active")
            self.history.add(step, density=self._pattern.density(0.0))
        return True
