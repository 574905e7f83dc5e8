"""Dynamic sparse training at one density: SET and RigL. Weak weights make room for new ones, again and again."""

from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from methods import draws, masking, scores
from methods.allocation import erk
from methods.branches import Branches
from methods.exchange import exchange
from methods.granularity.select import select
from methods.method import SparseMethod
from methods.schedule import CosineFraction, window
from methods.setting import Setting, require_elementwise, require_no_ramp, require_one_mask


class Rigl(SparseMethod):
    """Start from random ERK masks; in each layer drop the smallest magnitudes and grow as many weights.

    Only active weights have a value: what is dropped becomes 0, with its optimizer state, in both branches, and
    what grows starts at 0. A weight that is dropped and grown in one update keeps its value (RigL's rule). Both
    branches get the same mask.

    The fraction of a layer's active weights that is exchanged falls along a cosine from ``fraction`` to 0 at
    ``end_fraction`` of the run; where it is 0, nothing happens. Source: Evci et al. 2020 (RigL), section 3, with
    alpha 0.3 and T_end 0.75. The first update comes one period into the run (ours): at step 0 all magnitudes are
    drawn by chance. ``set`` is given the same schedule, so that the two differ only in how they grow and in the
    weight step (ours; Mocanu et al. 2018 exchange a constant 0.3 every epoch).

    Args:
        setting: density, seed and period; the window is the method's own.
        growth: ``gradient``: the largest dense gradients, of both modules of a tied pair together (RigL).
            ``random``: by chance, from seed and step alone, without looking at a gradient (SET).
        replaces_step: an update takes the place of the weight step (RigL). Source: the authors' code, which does
            either, never both.
        fraction: exchanged at first; 0 is static sparsity.
        end_fraction: of the run, when exchanging ends.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        growth: Literal["gradient", "random"],
        replaces_step: bool,
        fraction: float = 0.3,
        end_fraction: float = 0.75,
    ) -> None:
        super().__init__()
        require_elementwise(setting, "drop-and-grow")
        require_no_ramp(setting, "drop-and-grow")
        require_one_mask(setting, "drop-and-grow")
        self._setting = setting
        self._uses_gradient = growth == "gradient"
        self._replaces_step = replaces_step
        self._fraction = fraction
        self._end_fraction = end_fraction

    @property
    def window(self) -> tuple[float, float]:
        """From the start to where the exchanged fraction reaches 0."""
        return 0.0, self._end_fraction

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Plan the updates and draw the first masks."""
        setting = self._setting
        _, end, every = window(total_steps, 0.0, self._end_fraction, setting.period_fraction)
        self._exchange = CosineFraction(
            start_step=min(every, end), end_step=end, every=every, initial=self._fraction, final=0.0
        )
        self._branches = branches
        latents = masking.latent(branches.online)
        ones = erk({name: weight.shape for name, weight in latents.items()}, setting.density)
        drawn = scores.random(latents, torch.Generator().manual_seed(setting.seed))
        branches.write(select(drawn, ones, setting.granularity), candidates="active")

    def before_forward(self, step: int) -> None:
        """Watch the dense gradient in the steps that grow by it."""
        if self._uses_gradient and self._is_due(step):
            self._branches.watch()

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:
        """Exchange weights, when due."""
        if not self._is_due(step):
            return True
        branches, fraction = self._branches, self._exchange.value(step)
        strength, growth = scores.magnitude(masking.latent(branches.online)), self._growth(step)
        masks = {
            name: exchange(mask, strength[name], growth[name], fraction)
            for name, mask in masking.read(branches.online).items()
        }
        branches.write(masks, optimizer, candidates="active")
        self.history.add(step, exchanged_fraction=fraction)
        return not self._replaces_step

    def _is_due(self, step: int) -> bool:
        return self._exchange.is_due(step) and self._exchange.value(step) > 0.0

    def _growth(self, step: int) -> dict[str, Tensor]:
        if self._uses_gradient:
            return scores.gradient_magnitude(self._branches.dense_gradient())
        return scores.random(masking.latent(self._branches.online), draws.at_step(self._setting.seed, step))
