"""Gradual magnitude pruning (GMP): from dense to the final density along a cubic ramp."""

from typing import Literal

from torch.optim import Optimizer

from methods import masking, scores
from methods.allocation import Allocation, fitting, ranked, require_shares
from methods.branches import Branches
from methods.granularity.select import select
from methods.method import SparseMethod
from methods.schedule import Cubic
from methods.setting import Setting, require_one_mask


class Gradual(SparseMethod):
    """Keep the largest magnitudes of the whole network, ever fewer of them; both branches get the same mask.

    All latents are ranked at every update, so a pruned weight may come back (PocketFlow#130: ranking the
    pruned weights again would let no weight return). Source: Zhu & Gupta 2017, with one threshold for the
    network instead of one per layer, as GraNet's ``GMP``.

    Blocks compete like weights, by the sums of their magnitudes; filters within their layer. With an N:M pattern the
    ramp is of the groups that are still dense, in each layer the largest, from all to none.

    Args:
        setting: ``density`` is the final one.
        allocation: how the layers share it; see ``allocation.ranked``.
        start: of the ramp: where the setting says, or with the first step.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        allocation: Allocation = "global",
        start: Literal["setting", "first step"] = "setting",
    ) -> None:
        super().__init__()
        require_one_mask(setting, "gradual")
        require_shares(setting.granularity, allocation)
        self._setting = setting
        self._allocation = allocation
        self._is_early = start == "first step"
        self._final_level = setting.granularity.level(setting.density)

    @property
    def window(self) -> tuple[float, float] | None:
        """The ramp's, if it starts with the first step; else the setting's."""
        return (0.0, self._setting.end_fraction) if self._is_early else None

    def final_from(self, total_steps: int) -> int:
        """Return the step behind the ramp."""
        return self._ramp(total_steps).end_step + 1

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Plan the ramp; the masks stay ones until it starts.

        Raises:
            ValueError: if the granularity fits no layer: not only when the ramp starts.
        """
        setting = self._setting
        fitting({path: weight.shape for path, weight in masking.latent(branches.online).items()}, setting.granularity)
        self._branches = branches
        self._level = self._ramp(total_steps)

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:
        """Prune, when due."""
        if self._level.is_due(step):
            level, granularity = self._level.value(step), self._setting.granularity
            magnitudes = scores.magnitude(masking.latent(self._branches.online))
            shares = ranked(magnitudes, level, granularity, self._allocation)
            self._branches.write(select(magnitudes, shares.ones, granularity), optimizer)
            self.history.add(step, density=granularity.density(level), emptied_layers=len(shares.emptied))
        return True

    def _ramp(self, total_steps: int) -> Cubic:
        setting = self._setting
        return Cubic.over(
            total_steps,
            0.0 if self._is_early else setting.start_fraction,
            setting.end_fraction,
            setting.period_fraction,
            initial=1.0,
            final=self._final_level,
        )
