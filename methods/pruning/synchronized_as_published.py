"""Synchronized contrastive pruning as its authors' public code does it, with what is wrong there as named switches."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from methods import masking, scores
from methods.allocation import alike, erk, fitting, ranked
from methods.branches import Branches
from methods.exchange import drop, grow
from methods.granularity.base import budget
from methods.granularity.block import Block
from methods.granularity.filter import Filter
from methods.granularity.select import select
from methods.masking import Masks
from methods.method import SparseMethod
from methods.newcomers import Newcomers
from methods.overlap import overlap
from methods.schedule import CosineFraction, Cubic
from methods.scores import EmaMagnitude
from methods.setting import Setting

LEFT_DENSE = 0.01  # of the groups, at the end of the ramp: contrastive_nm_sparse.py:42


@dataclass(frozen=True, slots=True, kw_only=True)
class Bugs:
    """What the code does otherwise than its authors meant. True is as published; each can be mended by itself.

    Places are of the files in ``solo/methods/pruner`` of mengjian0502/solo-learn-sparse at commit f380678.

    Attributes:
        compares_magnitudes: the threshold comes from the averages, but raw magnitudes are compared with it
            (contrastive_sparse.py:91 with contrastive_momentum_sparse.py:48; bug B1).
        draws_by_chance: each weight of the first masks is drawn by itself, so that a density is met only on average
            (sparse.py:171).
        drops_among_all: regrowth drops the smallest latents of a layer, inactive ones included, and switches on all
            others (sparse.py:269; bug B9).
        grows_by_masked_gradient: what grows is ranked by the gradient of the latents, which is 0 wherever no mask let
            it through (sparse.py:298; bug B5).
        keeps_first_groups: the groups of a pattern that are dense at first are each layer's first ones
            (contrastive_nm_sparse.py:210; bug B12).
        leaves_dense_groups: a pattern's ramp ends with 1 % of the groups dense (contrastive_nm_sparse.py:42; bug B13).
        loses_ties: a score must exceed the k-th highest one, so that the k-th and all its equals go
            (contrastive_sparse.py:94; bug B7).
        ranks_inactive: all latents of the online encoder compete, so that what was dropped last time comes back in the
            place of what has grown since (contrastive_sparse.py:94).
        regrows_to_the_end: masks change until the last step, so that the exported one was never trained
            (contrastive_momentum_sparse.py:85).
        reports_agreement: the overlap of the branches is the share of equal entries (sparse.py:336; bug B20).
        revives_emptied_layers: regrowth makes a layer dense of which the threshold has left nothing (sparse.py:271; bug
            B8 at another place than a prune rate of 0).
        subtracts_running_sums: LAMP's denominators are differences of sums in single precision
            (contrastive_lamp.py:17; bug B34).
    """

    compares_magnitudes: bool = True
    draws_by_chance: bool = True
    drops_among_all: bool = True
    grows_by_masked_gradient: bool = True
    keeps_first_groups: bool = True
    leaves_dense_groups: bool = True
    loses_ties: bool = True
    ranks_inactive: bool = True
    regrows_to_the_end: bool = True
    reports_agreement: bool = True
    revives_emptied_layers: bool = True
    subtracts_running_sums: bool = True

    @classmethod
    def parse(cls, text: str) -> "Bugs":
        """Return the bugs that a text names.

        Args:
            text: ``all``; ``none``; some of them, ``loses_ties+draws_by_chance``; or all but some,
                ``all-loses_ties-draws_by_chance``.

        Raises:
            ValueError: it names something else.
        """
        there = [item.name for item in dataclasses.fields(cls)]
        first, *fewer = text.split("-")
        kept = {"all": there, "none": []}.get(first, first.split("+"))
        named = [*kept, *fewer]
        if not set(named) <= set(there) or (fewer and first != "all"):
            raise ValueError(
                f"bugs {text!r}: use all, none, some joined by '+', or all-NAME; the names are {', '.join(there)}."
            )
        return cls(**{name: name in kept and name not in fewer for name in there})


class SynchronizedAsPublished(SparseMethod):
    """``synchronized`` as the authors' code does it: the row that says what its bugs cost.

    Source: solo-learn-sparse at commit f380678: ``ContrastiveMMask`` for single weights, ``ContrastiveMNM`` for
    patterns, ``ContrastiveLAMP``, which averages nothing, for the allocation ``lamp``. Without bugs it is
    ``synchronized_active``, with ``ranks_inactive`` alone ``synchronized``, bit for bit (deviation 35).

    Other bugs cannot be had here: those of devices, ranks and resumption (B4, B18, B19, B38) change no number of a
    run that neither stops nor has a second rank; the loop counts optimizer steps (B33); initial density 1 (B6), prune
    rate 0 (B8) and densities above 1 (B10) are no settings of the authors' script.

    Args:
        setting: as of ``synchronized``; single weights or a pattern.
        allocation: ``global`` or ``lamp``.
        initial_density: as of ``synchronized``.
        momentum: of the averages; 0 ranks present magnitudes.
        prune_rate: as of ``synchronized``.
        prune_rate_end: as of ``synchronized``.
        bugs: text of ``Bugs.parse``.

    Raises:
        ValueError: the granularity is neither, or it is a pattern with ``lamp``.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        allocation: Literal["global", "lamp"],
        initial_density: float = 0.70,
        momentum: float = 0.99,
        prune_rate: float = 0.50,
        prune_rate_end: float = 0.005,
        bugs: str = "all",
    ) -> None:
        super().__init__()
        granularity = setting.granularity
        if isinstance(granularity, Block | Filter) or (not granularity.is_whole and allocation != "global"):
            raise ValueError(
                f"no published code prunes {granularity.name} with {allocation} allocation: use the granularity "
                "'element', an N:M pattern without LAMP, or the method synchronized."
            )
        self._setting, self._allocation, self._bugs = setting, allocation, Bugs.parse(bugs)
        self._final_level = granularity.level(setting.density)
        if not granularity.is_whole and self._bugs.leaves_dense_groups:
            self._final_level = LEFT_DENSE
        self._initial_level = max(initial_density, self._final_level)
        self._momentum = momentum
        self._prune_rate = prune_rate if granularity.is_whole else 0.0
        self._prune_rate_end = min(self._prune_rate, prune_rate_end)
        self._ranks_inactive = self._bugs.ranks_inactive or self._prune_rate == 0.0
        self._newcomers = Newcomers()

    @property
    def splits_branches(self) -> bool:
        """True unless neither gap, nor regrowth, nor chance tells the branches apart."""
        return self._setting.gap > 0.0 or self._prune_rate > 0.0 or self._bugs.draws_by_chance

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Plan the ramp and draw the first masks."""
        setting = self._setting
        span = (total_steps, setting.start_fraction, setting.end_fraction, setting.period_fraction)
        self._level = Cubic.over(*span, initial=self._initial_level, final=self._final_level)
        first, last = self._prune_rate, self._prune_rate_end
        self._exchange = CosineFraction.over(*span, initial=first, final=last)
        self._total_steps = total_steps
        if self._bugs.regrows_to_the_end:
            end, every = max(self._level.end_step, total_steps - 1), self._level.every
            self._exchange = CosineFraction(start_step=0, end_step=end, every=every, initial=first, final=last)
        self._branches = branches
        self._latents = {"online": masking.latent(branches.online)}
        if not branches.tied:
            self._latents["target"] = masking.latent(branches.target)
        generator = torch.Generator().manual_seed(setting.seed)
        drawn = scores.random(self._latents["online"], generator)
        others = scores.random(self._latents["online"], generator) if self._bugs.draws_by_chance else drawn
        level = self._initial_level
        branches.write(self._first(drawn, level), target=self._first(others, self._target_level(level)))
        self._averages = {name: EmaMagnitude(each, self._momentum) for name, each in self._latents.items()}

    def before_forward(self, step: int) -> None:
        """Watch the dense gradient in the steps that grow, if it is what growth ranks."""
        if self._grows(step) and not self._bugs.grows_by_masked_gradient:
            self._branches.watch()

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:
        """Rewrite both masks, when due; after the ramp the online one alone."""
        if self._is_due(step):
            self._update(step, optimizer)
        return True

    def on_step(self, step: int) -> None:
        """Average the magnitudes, as long as they are still needed."""
        if step < self._level.end_step or self._bugs.regrows_to_the_end:
            for name, average in self._averages.items():
                average.update(self._latents[name])

    def state(self) -> dict[str, object]:
        """Return averages and newcomers."""
        averages = {name: average.state_dict() for name, average in self._averages.items()}
        return {"averages": averages, "newcomers": self._newcomers.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore averages and newcomers."""
        for name, average in self._averages.items():
            average.load_state_dict(state["averages"][name])
        self._newcomers.load_state_dict(state["newcomers"])

    def _target_level(self, level: float) -> float:
        return min(1.0, level + self._setting.gap)

    def _is_due(self, step: int) -> bool:
        ramp = self._level
        if step <= ramp.end_step:
            return ramp.is_due(step)
        # After the ramp only regrowth is left, at the ramp's distances.
        return self._bugs.regrows_to_the_end and self._prune_rate > 0.0 and (step - ramp.end_step) % ramp.every == 0

    def _grows(self, step: int) -> bool:
        return self._is_due(step) and self._exchange.value(step) > 0.0

    def _update(self, step: int, optimizer: Optimizer) -> None:
        branches, granularity = self._branches, self._setting.granularity
        level, fraction = self._level.value(step), self._exchange.value(step)
        before, online, target = masking.read(branches.online), masking.read(branches.online), None
        if step <= self._level.end_step:
            if not self._ranks_inactive:
                self._averages["online"].restart(self._latents["online"], self._newcomers.masks)
            online = self._ranked("online", level, None if self._ranks_inactive else before)
            target = self._ranked("online" if branches.tied else "target", self._target_level(level))
        target = masking.read(branches.target) if target is None else target
        emptied = sum(not bool(mask.any()) for mask in online.values())
        kept = online
        if self._grows(step):
            growth = self._growth()
            kept = {name: self._dropped(name, mask, fraction) for name, mask in online.items()}
            online = {
                name: grow(kept[name], mask, growth[name]) if mask.any() else kept[name]
                for name, mask in online.items()
            }
        branches.write(online, optimizer, target=target)
        found = asdict(overlap(online, target))
        told = {"overlap": found["agreement"]} if self._bugs.reports_agreement else {}
        self.history.add(
            step,
            online_density=granularity.density(level),
            target_density=granularity.density(self._target_level(level)),
            exchanged_fraction=fraction,
            newcomers_kept=self._newcomers.outliving(kept),
            emptied_layers=emptied,
            **(told or {f"overlap_{name}": value for name, value in found.items()}),
        )
        self._newcomers.note(before, online)

    def _growth(self) -> dict[str, Tensor]:
        if not self._bugs.grows_by_masked_gradient:
            return scores.gradient_magnitude(self._branches.dense_gradient())
        growth = {}
        for name, latent in self._latents["online"].items():
            assert latent.grad is not None
            growth[name] = latent.grad.abs()
        return growth

    def _dropped(self, name: str, mask: Tensor, fraction: float) -> Tensor:
        if not mask.any():  # there is nothing to drop, which the code takes for no mask at all
            revived = self._latents["online"][name].detach() != 0
            return revived.float() if self._bugs.revives_emptied_layers else mask.clone()
        if not self._bugs.drops_among_all:
            return drop(mask, self._averages["online"].scores[name], fraction)
        magnitude, ones = self._latents["online"][name].detach().abs(), int(mask.count_nonzero())
        fewest = mask.numel() - ones + math.ceil(fraction * ones)
        return (magnitude > magnitude.flatten().kthvalue(fewest).values).float() if fewest else mask.clone()

    def _ranked(self, branch: str, level: float, competing: Masks | None = None) -> Masks:
        """Return what a branch keeps at a level, of the competing weights or, by default, of all."""
        granularity, bugs = self._setting.granularity, self._bugs
        strength, magnitudes = self._averages[branch].scores, scores.magnitude(self._latents[branch])
        if competing is not None:
            strength, magnitudes = (
                {name: score.masked_fill(competing[name] == 0, -1.0) for name, score in each.items()}
                for each in (strength, magnitudes)
            )
        if not granularity.is_whole:
            fit = fitting({name: score.shape for name, score in strength.items()}, granularity)
            ones = {name: score.numel() for name, score in strength.items()} | alike(fit, level, granularity)
            return {name: self._grouped(score, ones[name]) for name, score in strength.items()}
        if self._allocation == "lamp":
            score_of = published_lamp if bugs.subtracts_running_sums else scores.lamp
            strength = {name: score_of(score) for name, score in strength.items()}
        compared = strength
        if bugs.compares_magnitudes and self._allocation == "global":
            compared = magnitudes
        elif not bugs.loses_ties:
            return select(strength, ranked(strength, level, granularity).ones, granularity)
        flat = torch.cat([score.reshape(-1) for score in strength.values()])
        threshold = flat.topk(budget(flat.numel(), level)).values[-1]
        exceeds = torch.gt if bugs.loses_ties else torch.ge
        return {name: exceeds(each, threshold).float() for name, each in compared.items()}

    def _grouped(self, score: Tensor, ones: int) -> Tensor:
        """Return an N:M mask whose dense groups have the largest sums."""
        granularity = self._setting.granularity
        if not self._bugs.loses_ties or ones == score.numel() or not granularity.fits(score.shape):
            return granularity.keep(score, ones).float()
        bare, sums = granularity.keep(score, self._bare(score.shape)), granularity.pooled(score)
        dense = self._dense_groups(score.shape, ones)
        exceeding = sums > sums.topk(dense).values[-1] if dense else torch.zeros_like(sums, dtype=torch.bool)
        return (bare | granularity.spread(exceeding, score.shape)).float()

    def _first(self, drawn: Mapping[str, Tensor], level: float) -> Masks:
        """Give each layer its share by ERK: of weights or, with a pattern, of dense groups."""
        granularity = self._setting.granularity
        shapes = fitting({name: score.shape for name, score in drawn.items()}, granularity)
        shares = {name: count / shapes[name].numel() for name, count in erk(shapes, level).items()}
        if granularity.is_whole and self._bugs.draws_by_chance:
            return {name: (score < shares[name]).float() for name, score in drawn.items()}
        if granularity.is_whole:
            return select(drawn, erk(shapes, level), granularity)
        ones = {name: score.numel() for name, score in drawn.items()}
        ones |= {name: granularity.attainable(shapes[name], granularity.density(each)) for name, each in shares.items()}
        if not self._bugs.keeps_first_groups:
            return select(drawn, ones, granularity)
        masks = {}
        for name, score in drawn.items():
            masks[name] = torch.ones_like(score)
            if name in shapes and ones[name] < score.numel():
                groups = torch.arange(granularity.pooled(score).numel(), device=score.device)
                first = granularity.spread(groups < self._dense_groups(score.shape, ones[name]), score.shape)
                masks[name] = (granularity.keep(score, self._bare(score.shape)) | first).float()
        return masks

    def _bare(self, shape: torch.Size) -> int:
        """Return the ones of a layer without dense groups."""
        granularity = self._setting.granularity
        return granularity.attainable(shape, granularity.density(0.0))

    def _dense_groups(self, shape: torch.Size, ones: int) -> int:
        """Return how many groups of a layer are dense if it has so many ones."""
        bare, groups = self._bare(shape), self._setting.granularity.pooled(torch.empty(shape)).numel()
        return (ones - bare) * groups // (shape.numel() - bare)


def published_lamp(strength: Tensor) -> Tensor:
    """Return LAMP scores as the authors' code computes them: the sum of all squares less a running sum.

    In single precision the difference may reach 0 or less at the largest weights, whose score is then infinite, which
    keeps them, or negative, which does not. Infinite ones are the largest number here, and 0 / 0 is 0, so that there
    is an order.
    """
    squares, order = strength.detach().reshape(-1).square().sort(stable=True)
    below = torch.cat([squares.new_zeros(1), squares.cumsum(0)[:-1]])
    ratios = (squares / (squares.sum() - below)).nan_to_num(0.0)
    return torch.empty_like(ratios).scatter_(0, order, ratios).reshape(strength.shape)


__all__ = ["Bugs", "SynchronizedAsPublished", "published_lamp"]
