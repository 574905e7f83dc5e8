"""Dynamic sparse training at one density: weak weights make room for new ones, again and again. What methods share."""

import abc
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from methods import draws, masking, scores
from methods.allocation import erk
from methods.branches import Branches
from methods.exchange import exchange
from methods.granularity.select import select
from methods.masking import Masks
from methods.method import SparseMethod
from methods.schedule import CosineFraction, window
from methods.setting import Setting, require_elementwise, require_no_ramp, require_one_mask


class DropAndGrow(SparseMethod):
    """Start from random masks of one density, and exchange weights when due. Both branches get the same mask.

    The exchanged fraction falls along a cosine from ``fraction`` to ``final_fraction``; where it is 0, nothing happens.
    The first update comes one period into the run (ours): at step 0 all magnitudes are drawn by chance.

    Args:
        setting: density, seed and period.
        name: of the method, for messages.
        fraction: of the active weights, exchanged at first; 0 is static sparsity.
        final_fraction: exchanged at the last update. No more than ``fraction`` is used.
        end_fraction: of the run, when exchanging ends.
        period_fraction: of the run, between two updates; ``None``: the setting's.

    Raises:
        ValueError: the setting asks for other shapes, a ramp or a density gap.
    """

    def __init__(
        self,
        setting: Setting,
        name: str,
        *,
        fraction: float,
        end_fraction: float,
        final_fraction: float = 0.0,
        period_fraction: float | None = None,
    ) -> None:
        super().__init__()
        require_elementwise(setting, name)
        require_no_ramp(setting, name)
        require_one_mask(setting, name)
        self._setting = setting
        self._fraction, self._final_fraction = fraction, min(fraction, final_fraction)
        self._end_fraction = end_fraction
        self._period_fraction = setting.period_fraction if period_fraction is None else period_fraction

    @property
    def window(self) -> tuple[float, float]:
        """From the start to the last update."""
        return 0.0, self._end_fraction

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Plan the updates and draw the first masks."""
        _, end, every = window(total_steps, 0.0, self._end_fraction, self._period_fraction)
        self._exchange = CosineFraction(
            start_step=min(every, end), end_step=end, every=every, initial=self._fraction, final=self._final_fraction
        )
        self._branches = branches
        drawn = scores.random(masking.latent(branches.online), torch.Generator().manual_seed(self._setting.seed))
        branches.write(self.first(drawn), candidates="active")

    @abc.abstractmethod
    def first(self, drawn: dict[str, Tensor]) -> Masks:
        """Return the first masks.

        Args:
            drawn: per layer, a random score for each weight, of its shape.
        """

    def is_due(self, step: int) -> bool:
        """Return whether weights are exchanged in this step."""
        return self._exchange.is_due(step) and self._exchange.value(step) > 0.0


class LayerExchange(DropAndGrow):
    """From ERK masks, drop the smallest magnitudes of each layer and grow as many weights there.

    Only active weights have a value: what is dropped becomes 0, with its optimizer state, in both branches, and
    what grows starts at 0. A weight that is dropped and grown in one update keeps its value (RigL's rule).

    Args:
        setting: density, seed and period.
        name: of the method, for messages.
        growth: ``gradient``: the largest dense gradients, of both modules of a tied pair together. ``random``: by
            chance, from seed and step alone, without looking at a gradient.
        replaces_step: an update takes the place of the weight step.
        fraction: as in ``DropAndGrow``; so are the other fractions.
        final_fraction: of the active weights, exchanged at the last update.
        end_fraction: of the run, when exchanging ends.
        period_fraction: of the run, between two updates.

    Raises:
        ValueError: as ``DropAndGrow``.
    """

    def __init__(
        self,
        setting: Setting,
        name: str,
        *,
        growth: Literal["gradient", "random"],
        replaces_step: bool,
        fraction: float,
        end_fraction: float,
        final_fraction: float = 0.0,
        period_fraction: float | None = None,
    ) -> None:
        super().__init__(
            setting,
            name,
            fraction=fraction,
            end_fraction=end_fraction,
            final_fraction=final_fraction,
            period_fraction=period_fraction,
        )
        self._uses_gradient = growth == "gradient"
        self._replaces_step = replaces_step

    def first(self, drawn: dict[str, Tensor]) -> Masks:
        """Return random masks with ERK counts."""
        ones = erk({name: score.shape for name, score in drawn.items()}, self._setting.density)
        return select(drawn, ones, self._setting.granularity)

    def before_forward(self, step: int) -> None:
        """Watch the dense gradient in the steps that grow by it."""
        if self._uses_gradient and self.is_due(step):
            self._branches.watch()

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:
        """Exchange weights, when due."""
        if not self.is_due(step):
            return True
        branches, fraction = self._branches, self._exchange.value(step)
        strength, growth = scores.magnitude(masking.latent(branches.online)), self._growth(step)
        masks = {
            name: exchange(mask, strength[name], growth[name], fraction)
            for name, mask in masking.read(branches.online).items()
        }
        branches.write(masks, optimizer, candidates="active")
        self.history.add(step, exchanged_fraction=fraction, **self.noted(masks))
        return not self._replaces_step

    def noted(self, masks: Masks) -> dict[str, float]:  # noqa: ARG002  # for methods that look at them
        """Return what else an update notes for the record, given the masks that it wrote; nothing for most methods."""
        return {}

    def _growth(self, step: int) -> dict[str, Tensor]:
        if self._uses_gradient:
            return scores.gradient_magnitude(self._branches.dense_gradient())
        return scores.random(masking.latent(self._branches.online), draws.at_step(self._setting.seed, step))
