"""The contract of methods that gate activations: a reduction of MACs is asked for, held by control, and measured."""

import abc
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import final

import torch
import torch.distributed
from torch import Tensor

from methods.branches import Branches
from methods.gating.measure import Budget, Observed, maps, observe, training_share
from methods.gating.setting import GateSetting, parse_slice, require_no_slices
from methods.method import GateFacts, SparseMethod

START_FRACTION = 0.25  # of the steps: before, weights and running statistics change too fast to be steered by (ours)
SETTLING_FRACTION = 0.85  # of the steps: from here on it is measured more often, while statistics still follow (ours)
TOLERANCE = 0.03  # relative: a measured reduction closer to the one asked for has met it
DAMPING = 0.5  # of the knobs' turns: each layer shifts what later ones see, so that a whole turn overshoots (ours)
SETTLING_ROUNDS, SETTLED = 16, 0.005  # so many turns then, and after the last step, until this near, relatively
FEWEST = 1e-3  # rates nearer to 0 or 1 are taken for this, so that a turn stays finite
MAPPED_IMAGES = 6
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """What steers a branch.

    Attributes:
        aim: a threshold: the higher, the less is computed.
        spread: the standard deviation of what is compared with it.
    """

    aim: float
    spread: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What was measured on the held-out images, by the names of the knobs: executed shares, reductions of MACs."""

    shares: Mapping[str, float]
    reductions: Mapping[str, float]


class GatedMethod(SparseMethod):
    """Ask for a reduction, measure it on held-out images every so often, steer, and measure it on the scored ones.

    A subclass installs its gated layers and turns one knob a branch; the rest is here: whether the reduction can be
    reached, the controller's clock, equal decisions on all ranks, rates, MACs and agreement.
    """

    def __init__(self, setting: GateSetting) -> None:
        super().__init__()
        self.setting = setting
        self.branches: Branches
        self._moved = 0.0

    @property
    def leaks(self) -> bool:
        """Whether what one branch computes of its view depends on the other branch's view, in training.

        Then the gates tell a loss which views belong together, and it falls without anything being learned.
        """
        return False

    @property
    @abc.abstractmethod
    def lowest_share(self) -> float:
        """The share of its MACs that a gated layer executes with all gates off."""

    @property
    def predicts_for_target(self) -> bool:
        """Whether the target branch has networks that decide, whose MACs it pays for, as the online encoder does."""
        return True

    @abc.abstractmethod
    def install(self, branches: Branches) -> None:
        """Gate both encoders, in place. Parameters must keep the same order in both (the EMA pairs them so)."""

    @abc.abstractmethod
    def begin(self, wanted: float) -> None:
        """Set the knobs for a first guess at ``wanted``, the share of the gated layers' MACs to execute."""

    @abc.abstractmethod
    def knobs(self) -> dict[str, Knob]:
        """Return the knobs: ``aim``, and ``aim_target`` if the target has its own; none if nothing is steered."""

    @abc.abstractmethod
    def set_aims(self, aims: Mapping[str, float]) -> None:
        """Set the aims of the knobs, by the names of ``knobs``."""

    def follow(self) -> None:
        """Let gates of the target that follow the online ones take their step, after each step of the run."""

    def approached(self, step: int) -> float:
        """Return the share to execute before steering starts: it falls from 1 to the wanted one, linearly (ours)."""
        way = min(1.0, step / (START_FRACTION * self._total_steps))
        return 1.0 - way * (1.0 - self._wanted)

    def is_approaching(self, step: int) -> bool:
        """Return whether the step comes before steering starts; never if nothing is to be skipped."""
        return not self.setting.is_all_on and step < START_FRACTION * self._total_steps

    def probit(self, share: float) -> float:
        """Return the quantile of the standard normal distribution at the rate that executes this share."""
        rate = (share - self.lowest_share) / (1 - self.lowest_share)
        return _NORMAL.inv_cdf(min(1 - FEWEST, max(FEWEST, rate)))

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Install the gates."""
        self.branches = branches
        self._total_steps = total_steps
        self._every = max(1, round(total_steps * self.setting.period_fraction))
        self._every_settling = max(1, math.ceil((1 - SETTLING_FRACTION) * total_steps / SETTLING_ROUNDS))
        self.install(branches)

    def hold_out(self, images: Tensor) -> None:
        """Take the images to measure with and see whether the reduction can be reached.

        Raises:
            ValueError: it cannot, or there are no images.
        """
        if not len(images) and not self.setting.is_all_on:
            raise ValueError(
                "gates are steered by what they do on held-out images, and there are none. Set held_out_images."
            )
        self._images = images
        if self.setting.is_all_on:
            return
        shape = (images.shape[1], images.shape[2], images.shape[3])
        budget = self._budget = Budget.of(self.branches.online, shape)
        self._target_budget = self._of_target(budget)
        overhead = self.observe(images[:2]).online.overhead_macs
        self._wanted = budget.wanted_share(self.setting.reduction, overhead)
        if not self.lowest_share < self._wanted < 1.0:
            most = budget.reduction(self.lowest_share, overhead)
            least = budget.reduction(1.0, overhead)
            raise ValueError(
                f"a reduction of {self.setting.reduction:.2f} is out of reach: this encoder's gates reach more than "
                f"{least:.2f} and less than {most:.2f}, because its stem, shortcuts, base paths and the gates "
                "themselves are always computed. Ask for another reduction, or use more groups or a wider encoder."
            )
        self.begin(self._wanted)

    def observe(self, images: Tensor) -> Observed:
        """Let both branches see images in evaluation mode; once, where they are one function."""
        target = self.branches.online if self.branches.tied and not self.splits_branches else self.branches.target
        return observe(self.branches.online, target, images)

    @final
    def on_step(self, step: int) -> None:
        """Measure and steer, when due: every so often after the first quarter, more often towards the end, and then.

        Statistics of later layers follow a turn only in training. So nearly all turns are taken before the last step;
        what is left is told (``aim_moved_after_training``).
        """
        self.follow()
        if self.setting.is_all_on or not self._is_due(step + 1):
            return
        found = self._measured()
        if step == self._total_steps - 1:
            before = self.knobs()
            found = self._settled(found)
            after = self.knobs()
            self._moved = max((abs(after[name].aim - knob.aim) for name, knob in before.items()), default=0.0)
        else:
            self.set_aims(self._turned(found))
        self.history.add(
            step,
            held_out_reduction=found.reductions["aim"],
            held_out_reduction_target=found.reductions["aim_target"],
            **{name: knob.aim for name, knob in self.knobs().items()},
        )

    def _is_due(self, done: int) -> bool:
        if done == self._total_steps:
            return True
        if done >= SETTLING_FRACTION * self._total_steps:
            return (self._total_steps - done) % self._every_settling == 0
        return done >= START_FRACTION * self._total_steps and done % self._every == 0

    def _measured(self) -> _Found:
        seen = self.observe(self._images)
        shares = torch.tensor(
            [seen.online.share(self._budget), seen.target.share(self._target_budget)], dtype=torch.float64
        )
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # Ranks have running statistics of their own, but must turn their knobs alike.
            shares = shares.to(self._images.device)
            torch.distributed.all_reduce(shares)
            shares /= torch.distributed.get_world_size()
        online, target = shares.tolist()
        return _Found(
            shares={"aim": online, "aim_target": target},
            reductions={
                "aim": self._budget.reduction(online, seen.online.overhead_macs),
                "aim_target": self._target_budget.reduction(target, seen.target.overhead_macs),
            },
        )

    def _turned(self, found: _Found) -> dict[str, float]:
        """Return better aims, as if what is compared with an aim were normal in one layer, whose turn is damped."""
        wanted = self.probit(self._wanted)
        return {
            name: knob.aim + DAMPING * knob.spread * (self.probit(found.shares[name]) - wanted)
            for name, knob in self.knobs().items()
        }

    def _settled(self, found: _Found) -> _Found:
        """Steer on while nothing else moves any more: once an aim is too low and one too high, by halves."""
        brackets = dict.fromkeys(self.knobs(), (-math.inf, math.inf))
        for _ in range(SETTLING_ROUNDS):
            if all(abs(found.reductions[name] / self.setting.reduction - 1) < SETTLED for name in brackets):
                break
            turned = self._turned(found)
            for name, knob in self.knobs().items():
                low, high = brackets[name]
                bracket = (knob.aim, high) if found.shares[name] > self._wanted else (low, knob.aim)
                brackets[name] = bracket if bracket[0] < bracket[1] else (-math.inf, math.inf)  # not always monotone
                if math.isfinite(sum(brackets[name])):
                    turned[name] = sum(brackets[name]) / 2
            self.set_aims(turned)
            found = self._measured()
        return found

    def _of_target(self, budget: Budget) -> Budget:
        """Return the target's budget: the online encoder's, without predictors where the target has none."""
        return budget if self.predicts_for_target else dataclasses.replace(budget, predictors=0)

    def gate_facts(self, scored: Callable[[], Tensor]) -> GateFacts:
        """Measure on all scored images: MACs forward, per branch, and how far the branches' gates agree."""
        images = scored()
        shape = (images.shape[1], images.shape[2], images.shape[3])
        budget, seen = Budget.of(self.branches.online, shape), self.observe(images)
        target_budget = self._of_target(budget)
        reductions = [
            each.reduction(activity.share(each), activity.overhead_macs)
            for each, activity in ((budget, seen.online), (target_budget, seen.target))
        ]
        asked = self.setting.reduction
        facts: dict[str, object] = {
            "dense_macs": budget.dense,
            "macs_ratio": 1 / reductions[0],
            "reduction_asked": asked,
            "reduction": reductions[0],
            "reduction_target": reductions[1],
            "reduction_is_met": abs(reductions[0] / asked - 1) <= TOLERANCE,
            "gate_overhead_macs": seen.online.overhead_macs + budget.predictors,
            "gate_rate": seen.online.rate(budget),
            "gate_rate_target": seen.target.rate(budget),
            "gate_rate_per_layer": dict(seen.online.rates),
            "gate_rate_per_layer_target": dict(seen.target.rates),
            "gate_agreement": _weighted(budget, seen.agreement),
            "gate_agreement_by_chance": _weighted(budget, _chance(seen)),
            "gate_agreement_per_layer": dict(seen.agreement),
            "gates_never_on": [path for path, rate in seen.online.rates.items() if rate == 0.0],
            "gates_leak": self.leaks,
            "aim_moved_after_training": self._moved,
        }
        few = images[:MAPPED_IMAGES]
        return GateFacts(
            online_share=training_share(self.branches.online, budget, seen.online.overhead_macs),
            target_share=training_share(self.branches.target, target_budget, seen.target.overhead_macs),
            facts=facts,
            features=seen.features,
            maps={
                f"{branch}/{path}": each
                for branch, encoder in (("online", self.branches.online), ("target", self.branches.target))
                for path, each in maps(encoder, few).items()
            },
        )


def _weighted(budget: Budget, values: Mapping[str, float]) -> float:
    return sum(budget.layers[path] * value for path, value in values.items()) / budget.gated


def _chance(seen: Observed) -> dict[str, float]:
    """Return how far independent gates of the same rates would agree."""
    target = seen.target.rates
    return {path: rate * target[path] + (1 - rate) * (1 - target[path]) for path, rate in seen.online.rates.items()}


__all__ = ["TOLERANCE", "GateSetting", "GatedMethod", "Knob", "parse_slice", "require_no_slices"]
