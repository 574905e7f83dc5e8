"""Lottery tickets of a self-supervised start: prune iteratively, each time rewinding to the pre-trained weights."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from methods import masking, scores
from methods.allocation import ranked
from methods.branches import Branches
from methods.granularity.select import select
from methods.method import SparseMethod
from methods.setting import Setting, require_elementwise, require_no_ramp, require_one_mask
from methods.stages import Stage


class Ticket(SparseMethod):
    """Pre-train densely; then prune a fifth of what is left by magnitude and go back to the pre-trained weights.

    Each round but the last trains on to find the next mask; what it has learned is thrown away. The last one trains
    the ticket, the pre-trained weights under the final mask, which is exported. The mask is that of the online
    encoder's active weights of all layers together; both branches get it, and both go back.

    Source: Chen et al., CVPR 2021 (The lottery tickets hypothesis for supervised and self-supervised pre-training),
    and their code: ``SimCLR/pruning.py:10`` (prune, rewind), ``SimCLR/main.py:50`` (the first pruning comes before any
    round) of VITA-Group/CV_LTH_Pre-training at bb18ba2. They start from a published encoder, train 10 epochs a round
    and tune the ticket for each task; here all of it is one run of the table's length (deviation 37).

    Args:
        setting: ``density`` is the ticket's.
        pretrain_fraction: of the run, before the first pruning.
        found_fraction: of the run, when the last pruning is done.
        pruned_fraction: of the remaining weights, at each pruning but the last, which prunes to ``density`` exactly.
        round_rate: peak of the learning rate in each round, as a fraction of the run's.

    Raises:
        ValueError: the fractions are not ``0 < pretrain <= found <= 0.9`` and ``0 < pruned < 1``.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        pretrain_fraction: float = 0.4,
        found_fraction: float = 0.7,
        pruned_fraction: float = 0.2,
        round_rate: float = 0.1,
    ) -> None:
        super().__init__()
        require_elementwise(setting, "ticket")
        require_one_mask(setting, "ticket")
        require_no_ramp(setting, "ticket")
        if not 0.0 < pretrain_fraction <= found_fraction <= 0.9 or not 0.0 < pruned_fraction < 1.0:
            raise ValueError(
                f"ticket: pre-training until {pretrain_fraction} of the run, the last pruning at {found_fraction}, a "
                f"pruned fraction of {pruned_fraction}: use 0 < pretrain <= found <= 0.9 and a fraction in (0, 1)."
            )
        self._setting = setting
        self._window = (pretrain_fraction, found_fraction)
        self._pruned_fraction = pruned_fraction
        self._round_rate = round_rate
        self._start: dict[str, dict[str, Tensor]] = {}

    @property
    def window(self) -> tuple[float, float]:
        """From the first pruning to the last."""
        return self._window

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The rounds, each from the pre-trained weights."""
        return tuple(Stage(start_step=step, rate=self._round_rate) for step in self._densities)

    def attach(self, branches: Branches, total_steps: int) -> None:
        """Plan the rounds: evenly from the first pruning to the last. Those that share a step are one."""
        self._branches = branches
        densities = rounds(self._setting.density, self._pruned_fraction)
        first, last = (fraction * total_steps for fraction in self._window)
        between = (last - first) / max(1, len(densities) - 1)
        self._densities = {
            math.floor((last if density == densities[-1] else first + between * index) + 1e-6): density
            for index, density in enumerate(densities)
        }

    def before_forward(self, step: int) -> None:
        """Keep the pre-trained weights, before the first pruning's pass moves the running statistics."""
        if step in self._densities and not self._start:
            self._start = {name: _kept(module) for name, module in self._modules().items()}

    def on_gradient(self, step: int, optimizer: Optimizer) -> bool:
        """Prune and rewind, when a round begins; then there is no weight step: the gradient is of other weights."""
        if step not in self._densities:
            return True
        branches, density, granularity = self._branches, self._densities[step], self._setting.granularity
        active = masking.read(branches.online)
        magnitudes = scores.magnitude(masking.latent(branches.online))
        strength = {name: score.masked_fill(active[name] == 0, -1.0) for name, score in magnitudes.items()}
        shares = ranked(strength, density, granularity)
        branches.write(select(strength, shares.ones, granularity), optimizer)
        self._rewind()
        optimizer.state.clear()  # of weights that are no more
        self.history.add(step, density=density, emptied_layers=len(shares.emptied))
        return False

    def state(self) -> dict[str, object]:
        """Return the pre-trained weights, once there are some."""
        return {"start": {name: dict(tensors) for name, tensors in self._start.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the pre-trained weights."""
        self._start = {name: dict(tensors) for name, tensors in state["start"].items()}

    def _modules(self) -> dict[str, nn.Module]:
        return {"online": self._branches.online, "target": self._branches.target}

    @torch.no_grad()
    def _rewind(self) -> None:
        for name, module in self._modules().items():
            there = module.state_dict()
            for key, tensor in self._start[name].items():
                there[key].copy_(tensor)


def rounds(density: float, pruned_fraction: float) -> tuple[float, ...]:
    """Return the density after each pruning, falling to ``density``; none where nothing is to be pruned."""
    found, left = list[float](), 1.0
    while left > density:
        left *= 1.0 - pruned_fraction
        found.append(max(left, density))
    return tuple(found)


def _kept(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of all weights, latent ones, and of running statistics; masks stay out."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items() if not name.endswith(".mask")}
