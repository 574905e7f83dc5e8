"""Synchronized contrastive pruning (SyncCP): two masks on one schedule, the target's denser by a gap."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import torch
from torch.optim import Optimizer

from methods import masking, scores
from methods.allocation import Allocation, Shares, erk, fitting, ranked, require_shares
from methods.branches import Branches
from methods.exchange import drop, grow
from methods.granularity.select import select
from methods.method import SparseMethod
from methods.newcomers import Newcomers
from methods.overlap import overlap
from methods.schedule import CosineFraction, Cubic
from methods.scores import EmaMagnitude
from methods.setting import Setting


class Synchronized(SparseMethod):
    """Prune online encoder and target together by magnitudes averaged over time; regrow online weights.

    Source: *Synchronized Contrastive Pruning* (ICLR 2023 submission). Its text could not be read; this is what
    the authors' code (solo-learn-sparse, ``ContrastiveMMask`` and ``DuoMMask``) intends, with five deliberate
    differences (deviations 1 to 5 in results/deviations.md):

    * Magnitude *averages* are ranked. Their code takes the threshold from them and compares raw magnitudes.
    * Growth ranks the true dense gradient. Theirs ranks the masked one, which is 0 wherever growth is
      possible.
    * Only active online weights compete at an update, as in GraNet, whose exchange theirs is. They rank all latents:
      what was dropped last time is still larger than what has grown since, and comes straight back.
    * Masks are exact: counts instead of thresholds, at the start too.
    * Prune-and-regrow ends with the ramp. Theirs goes on to the last step, so the exported mask was never
      trained.

    Pruned latents live on, and what grows comes back at its own value. The target, which grows nothing, ranks all its
    latents.

    With an N:M pattern (the authors' ``ContrastiveMNM``) the ramp is of the *fraction of dense groups*: in each
    layer those of the largest averages, the target's fraction higher by the gap, all others n:m; nothing is
    exchanged. Theirs stops at 1 % of the groups, so that its encoder is not n:m; here the online encoder ends at
    none, and the target at ``gap``.

    With blocks everything above holds of blocks, which are ranked, dropped and grown by the sums of their scores;
    with filters too, but that every layer keeps the same share. Source: ours; the authors' structured version
    (``contrastive_grp_sparse.py``) is an empty stub that cannot be constructed (deviation 18).

    Args:
        setting: ``density`` is the final one of the online encoder; the target keeps ``min(1, density +
            gap)``. With a pattern, ``gap`` is a fraction of the groups.
        initial_density: of the online encoder before the ramp; with a pattern, the fraction of dense groups.
            Source: the authors' N:M script, the only one that prunes. A setting that asks for more starts, and
            stays, at its own density.
        momentum: of the magnitude averages. Same source.
        prune_rate: fraction of each layer's active weights exchanged at the first update; it falls along a
            cosine to ``prune_rate_end`` at the last one. Same source; 0 exchanges nothing.
        prune_rate_end: Source: the authors' ``CosineDecay``. No more than ``prune_rate`` is used.
        allocation: how the layers share the density; see ``allocation.ranked``. The authors': ``global``, and ``lamp``
            in a class that no script uses.
        candidates: which online weights are ranked: ``active`` ones, or ``all`` latents. Where nothing is exchanged
            (prune_rate 0, patterns), a weight could not come back otherwise, and it is all.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        initial_density: float = 0.70,
        momentum: float = 0.99,
        prune_rate: float = 0.50,
        prune_rate_end: float = 0.005,
        allocation: Allocation = "global",
        candidates: Literal["active", "all"] = "active",
    ) -> None:
        super().__init__()
        require_shares(setting.granularity, allocation)
        self._setting = setting
        self._allocation = allocation
        self._final_level = setting.granularity.level(setting.density)
        self._initial_level = max(initial_density, self._final_level)
        self._momentum = momentum
        self._prune_rate = prune_rate if setting.granularity.is_whole else 0.0
        self._prune_rate_end = min(self._prune_rate, prune_rate_end)
        self._ranks_all = candidates == "all" or self._prune_rate == 0.0
        self._newcomers = Newcomers()

    @property
    def splits_branches(self) -> bool:
        """True unless neither the density gap nor regrowth, which is the online encoder's alone, tells them apart."""
        return self._setting.gap > 0.0 or self._prune_rate > 0.0

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Plan the ramp and draw the first masks: ERK, random, nested, because both rank the same scores."""
        setting = self._setting
        span = (total_steps, setting.start_fraction, setting.end_fraction, setting.period_fraction)
        self._level = Cubic.over(*span, initial=self._initial_level, final=self._final_level)
        self._exchange = CosineFraction.over(*span, initial=self._prune_rate, final=self._prune_rate_end)
        self._branches = branches
        latents = masking.latent(branches.online)
        drawn = scores.random(latents, torch.Generator().manual_seed(setting.seed))
        level = self._initial_level
        branches.write(self._erk(drawn, level), target=self._erk(drawn, self._target_level(level)))
        # A tied pair has one set of latents, hence one average; it is updated once.
        self._latents = {"online": latents}  # found once: a search in every step costs a hundredth of it
        if not branches.tied:
            self._latents["target"] = masking.latent(branches.target)
        self._averages = {name: EmaMagnitude(each, self._momentum) for name, each in self._latents.items()}

    def before_forward(self, step: int) -> None:
        """Watch the dense gradient in the steps that grow."""
        if self._grows(step):
            self._branches.watch()

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:
        """Rewrite both masks, when due."""
        if self._level.is_due(step):
            self._update(step, optimizer)
        return True

    def on_step(self, step: int) -> None:
        """Average the magnitudes, as long as they are still needed."""
        if step < self._level.end_step:
            for name, average in self._averages.items():
                average.update(self._latents[name])

    def state(self) -> dict[str, object]:
        """Return averages and newcomers; the masks are in the modules, and the schedule knows only the step."""
        averages = {name: average.state_dict() for name, average in self._averages.items()}
        return {"averages": averages, "newcomers": self._newcomers.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore averages and newcomers."""
        for name, average in self._averages.items():
            average.load_state_dict(state["averages"][name])
        self._newcomers.load_state_dict(state["newcomers"])

    def _target_level(self, level: float) -> float:
        return min(1.0, level + self._setting.gap)

    def _grows(self, step: int) -> bool:
        return self._level.is_due(step) and self._exchange.value(step) > 0.0

    def _update(self, step: int, optimizer: Optimizer) -> None:
        branches, granularity = self._branches, self._setting.granularity
        level, fraction = self._level.value(step), self._exchange.value(step)
        if not self._ranks_all:  # the average of a newcomer is of the time before it acted
            self._averages["online"].restart(self._latents["online"], self._newcomers.masks)
        before, strength = masking.read(branches.online), self._averages["online"].scores
        target_scores = strength if branches.tied else self._averages["target"].scores
        target = select(target_scores, self._shares(target_scores, self._target_level(level)).ones, granularity)
        if not self._ranks_all:
            strength = {name: score.masked_fill(before[name] == 0, -1.0) for name, score in strength.items()}
        shares = self._shares(strength, level)
        online = kept = select(strength, shares.ones, granularity)
        if self._grows(step):
            growth = scores.gradient_magnitude(branches.dense_gradient())
            fit = [name for name, mask in online.items() if granularity.fits(mask.shape)]
            kept = online | {name: drop(online[name], strength[name], fraction, granularity) for name in fit}
            online = kept | {name: grow(kept[name], online[name], growth[name], granularity) for name in fit}
        branches.write(online, optimizer, target=target)
        self.history.add(
            step,
            online_density=granularity.density(level),
            target_density=granularity.density(self._target_level(level)),
            exchanged_fraction=fraction,
            newcomers_kept=self._newcomers.outliving(kept),
            emptied_layers=len(shares.emptied),
            **{f"overlap_{name}": value for name, value in asdict(overlap(online, target)).items()},
        )
        self._newcomers.note(before, online)

    def _erk(self, drawn: Mapping[str, torch.Tensor], level: float) -> masking.Masks:
        """Give each layer its share by ERK: of weights, blocks, filters or, with a pattern, of dense groups."""
        granularity = self._setting.granularity
        shapes = fitting({name: score.shape for name, score in drawn.items()}, granularity)
        ones = {name: score.numel() for name, score in drawn.items()}
        if granularity.unit is not None:
            return select(drawn, ones | erk(shapes, level, unit=granularity.unit), granularity)
        for name, count in erk(shapes, level).items():
            ones[name] = granularity.attainable(shapes[name], granularity.density(count / ones[name]))
        return select(drawn, ones, granularity)

    def _shares(self, strength: Mapping[str, torch.Tensor], level: float) -> Shares:
        return ranked(strength, level, self._setting.granularity, self._allocation)
