"""One-shot magnitude pruning: train densely to the end, prune once, fine-tune what is left."""

import math

from torch.optim import Optimizer

from methods import masking, scores
from methods.allocation import Allocation, fitting, ranked, require_shares
from methods.branches import Branches
from methods.granularity.select import select
from methods.method import SparseMethod
from methods.setting import Setting, require_no_ramp, require_one_mask
from methods.stages import Stage


class OneShot(SparseMethod):
    """Two stages in one run: dense training with a whole learning-rate schedule, then fine-tuning under a fixed mask.

    The mask keeps the largest magnitudes of the online encoder, as they are after the dense stage; both branches get
    it. Source: Han et al., NeurIPS 2015, section 3: prune by magnitude, train again at a tenth of the learning rate.
    How long each stage takes is ours: half of the run, so that a row has as many epochs as all others, and its dense
    half is in its budget (deviation 36).

    Args:
        setting: ``density`` is that of the fine-tuned encoder.
        allocation: how the layers share it; see ``allocation.ranked``. Han et al. choose a threshold for each layer
            by hand.
        dense_fraction: of the run, before the weights are pruned.
        tuning_rate: peak of the learning rate in fine-tuning, as a fraction of the run's.

    Raises:
        ValueError: the dense stage leaves less than a tenth of the run for fine-tuning, or takes nothing.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        allocation: Allocation = "global",
        dense_fraction: float = 0.5,
        tuning_rate: float = 0.1,
    ) -> None:
        super().__init__()
        require_one_mask(setting, "one_shot")
        require_no_ramp(setting, "one_shot")
        require_shares(setting.granularity, allocation)
        if not 0.0 < dense_fraction <= 0.9:
            raise ValueError(
                f"one_shot: a dense stage of {dense_fraction} of the run: use a fraction in (0, 0.9], so that at least "
                "10 % of the steps are left to fine-tune in."
            )
        self._setting = setting
        self._allocation: Allocation = allocation
        self._dense_fraction = dense_fraction
        self._tuning_rate = tuning_rate
        self._level = setting.granularity.level(setting.density)

    @property
    def window(self) -> tuple[float, float]:
        """The one moment of pruning."""
        return self._dense_fraction, self._dense_fraction

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Fine-tuning."""
        return (Stage(start_step=self._start_step, rate=self._tuning_rate),)

    def final_from(self, total_steps: int) -> int:
        """Return the step behind the pruning."""
        return self._pruning(total_steps) + 1

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Plan the pruning; the masks stay ones until then.

        Raises:
            ValueError: if the granularity fits no layer: not only when it is time to prune.
        """
        shapes = {path: weight.shape for path, weight in masking.latent(branches.online).items()}
        fitting(shapes, self._setting.granularity)
        self._branches = branches
        self._start_step = self._pruning(total_steps)

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:
        """Prune, when the dense stage is over."""
        if step == self._start_step:
            granularity = self._setting.granularity
            magnitudes = scores.magnitude(masking.latent(self._branches.online))
            shares = ranked(magnitudes, self._level, granularity, self._allocation)
            self._branches.write(select(magnitudes, shares.ones, granularity), optimizer)
            self.history.add(step, density=granularity.density(self._level), emptied_layers=len(shares.emptied))
        return True

    def _pruning(self, total_steps: int) -> int:
        """Return the step that the mask is written in."""
        return math.floor(self._dense_fraction * total_steps + 1e-6)
