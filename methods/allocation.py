"""How much each layer keeps: a density becomes one exact count per layer.

All three allocations share two policies (ours, so that counts add up exactly):

* Counts sum to ``floor(density * N + 1/2)`` over the network. Fractional counts are rounded by largest
  remainder.
* Every layer keeps at least one weight, taken from the layer that then keeps most.

Blocks take the place of weights in both: N is then the number of blocks.

Which counts a layer gets does not depend on the order of the layers, except where two layers tie exactly
(equal remainders, equal scores, equal largest counts): then the first layer wins.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from methods.granularity.base import Granularity, budget
from methods.granularity.element import Elementwise
from methods.scores import lamp

Allocation = Literal["global", "erk", "lamp"]
"""How layers share a budget: by one ranking of the network, by ERK whatever the scores, or by one LAMP ranking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What each layer keeps.

    Attributes:
        ones: per layer.
        emptied: layers of which the ranking kept nothing; they have one unit all the same.
    """

    ones: dict[str, int]
    emptied: tuple[str, ...] = ()


def uniform(shapes: Mapping[str, torch.Size], density: float, *, unit: int = 1) -> dict[str, int]:
    """Return ``density * N_l`` ones per layer, each rounded down or up so that the sum is exact.

    Args:
        shapes: of the weights.
        density: fraction kept.
        unit: the weights of a block, which come and go as one; every layer must divide.

    Raises:
        ValueError: if the density is outside (0, 1], or keeps fewer units than there are layers.
    """
    kept = budget(_total(shapes) // unit, density)
    return _rounded({name: density * shape.numel() for name, shape in shapes.items()}, kept, unit)


def erk(shapes: Mapping[str, torch.Size], density: float, *, power: float = 1.0, unit: int = 1) -> dict[str, int]:
    """Return the Erdos-Renyi-kernel allocation: small layers stay denser.

    Layer density is proportional to ``(sum(shape) / prod(shape)) ** power``; layers that would exceed 1
    stay dense and the others share what is left. Source: Evci et al. 2020 (RigL), section 3; Mocanu et al.
    2018 for the version without kernels. Published code then draws each weight by chance; the counts here
    are exact.

    Args:
        shapes: of the weights.
        density: fraction kept.
        power: 0 is ``uniform``.
        unit: the weights of a block, which come and go as one; every layer must divide. The formula sees the
            weights: blocks only round.

    Raises:
        ValueError: if the density is outside (0, 1], or keeps fewer units than there are layers.
    """
    kept = budget(_total(shapes) // unit, density)
    raw = {name: (sum(shape) / shape.numel()) ** power for name, shape in shapes.items()}
    dense: set[str] = set()
    scale = 0.0
    # A layer above 1 gives what it cannot hold to the others, whose share only grows: it never comes back.
    while len(dense) < len(shapes):
        rest = [name for name in shapes if name not in dense]
        left = density * _total(shapes) - sum(shapes[name].numel() for name in dense)
        scale = left / math.fsum(raw[name] * shapes[name].numel() for name in rest)
        full = {name for name in rest if raw[name] * scale > 1.0}
        if not full:
            break
        dense |= full
    quotas = {
        name: float(shape.numel()) if name in dense else scale * raw[name] * shape.numel()
        for name, shape in shapes.items()
    }
    return _rounded(quotas, kept, unit)


def global_(scores: Mapping[str, Tensor], density: float) -> dict[str, int]:
    """Return how many of the network's highest scores lie in each layer. Ties: first layer, lowest index.

    Raises:
        ValueError: if the density is outside (0, 1], keeps fewer weights than there are layers, or a score
            is not finite.
    """
    return _at_least_one(_of_one_ranking(scores, density))


def ranked(
    scores: Mapping[str, Tensor],
    level: float,
    granularity: Granularity,
    allocation: Allocation = "global",
    *,
    pooled: Mapping[str, Tensor] | None = None,
) -> Shares:
    """Return how many of its highest scores each layer keeps at a level of the granularity.

    Units that are alike (weights, blocks) share one budget, by one of three allocations; others (patterns, filters)
    have a budget in every layer (``alike``), and nothing is allocated. Layers that do not fit stay dense.

    ``global`` ranks all units together: Meng et al. 2023 (SyncCP), the authors' ``ContrastiveMask``; Liu et al. 2021
    (GraNet). At few steps and densities it follows what was large at initialisation, 1 / sqrt(fan-in), and empties
    wide layers. ``erk`` gives each layer its ERK count and ranks inside: Evci et al. 2020, appendix; ``lamp`` ranks
    LAMP scores together: Lee et al. 2021, also in the SyncCP authors' repository.

    Args:
        scores: of all prunable layers, higher is kept; negative where a weight does not compete.
        level: of the granularity.
        granularity: the shapes that may go.
        allocation: how layers share the budget.
        pooled: the scores' sums of each unit, of the layers that fit, where the caller has them.

    Raises:
        ValueError: as ``global_`` or ``erk``; or no layer fits.
    """
    fit = fitting({name: score.shape for name, score in scores.items()}, granularity)
    ones = {name: score.numel() for name, score in scores.items()}
    if granularity.unit is None:
        return Shares(ones=ones | alike(fit, level, granularity))
    if allocation == "erk":
        return Shares(ones=ones | erk(fit, level, unit=granularity.unit))
    pooled = {name: granularity.pooled(scores[name]) for name in fit} if pooled is None else pooled
    if allocation == "lamp":
        pooled = {name: lamp(score) for name, score in pooled.items()}
    found = _of_one_ranking(pooled, level)
    units = _at_least_one(dict(found))
    return Shares(
        ones=ones | {name: granularity.unit * count for name, count in units.items()},
        emptied=tuple(name for name, count in found.items() if count == 0),
    )


def require_shares(granularity: Granularity, allocation: Allocation) -> None:
    """Refuse an allocation where every layer has a budget of its own.

    Raises:
        ValueError: unless the allocation is ``global``, which then allocates nothing, or there is one budget.
    """
    if granularity.unit is None and allocation != "global":
        raise ValueError(
            f"{granularity.name} keeps as much in every layer, so there is nothing to allocate by {allocation}: "
            "use the method without it, or the granularity 'element' or a block."
        )


def alike(shapes: Mapping[str, torch.Size], level: float, granularity: Granularity) -> dict[str, int]:
    """Return the ones per layer if each rounds the same density by itself."""
    density = granularity.density(level)
    return {name: granularity.attainable(shape, density) for name, shape in shapes.items()}


def fitting(shapes: Mapping[str, torch.Size], granularity: Granularity) -> dict[str, torch.Size]:
    """Return the layers that the granularity can prune.

    Raises:
        ValueError: if there is none; a run that prunes nothing must not look like one that does.
    """
    fit = {name: shape for name, shape in shapes.items() if granularity.fits(shape)}
    if not fit:
        raise ValueError(
            f"{granularity.name} fits none of the {len(shapes)} prunable layers: widen the encoder, choose another "
            "pattern, or use 'element'."
        )
    return fit


def _of_one_ranking(scores: Mapping[str, Tensor], density: float) -> dict[str, int]:
    """Return how many of the network's highest scores lie in each layer, none where there is none."""
    flat = torch.cat([score.detach().reshape(-1) for score in scores.values()])
    kept = Elementwise().keep(flat, budget(flat.numel(), density))
    parts = torch.split(kept, [score.numel() for score in scores.values()])
    return {name: int(part.count_nonzero()) for name, part in zip(scores, parts, strict=True)}


def _total(shapes: Mapping[str, torch.Size]) -> int:
    return sum(shape.numel() for shape in shapes.values())


def _rounded(quotas: Mapping[str, float], kept: int, unit: int) -> dict[str, int]:
    """Round quotas to ``kept`` units by largest remainder (Hamilton's method); return the weights in them.

    ``sorted`` is stable, so ties go to the first layer.
    """
    quotas = {name: quota / unit for name, quota in quotas.items()}
    counts = {name: math.floor(quota) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: counts[name] - quotas[name])
    for name in by_remainder[: kept - sum(counts.values())]:
        counts[name] += 1
    return {name: unit * count for name, count in _at_least_one(counts).items()}


def _at_least_one(counts: dict[str, int]) -> dict[str, int]:
    if sum(counts.values()) < len(counts):
        raise ValueError(
            f"{sum(counts.values())} units cannot give each of {len(counts)} layers one: "
            "raise the density or widen the encoder."
        )
    for name, count in counts.items():
        if count == 0:
            most = max(counts, key=counts.__getitem__)
            counts[most] -= 1
            counts[name] = 1
    return counts


__all__ = ["Allocation", "Shares", "alike", "erk", "fitting", "global_", "ranked", "require_shares", "uniform"]
