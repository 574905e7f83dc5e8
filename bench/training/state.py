"""Everything that changes from step to step, and so everything that a checkpoint holds."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bench.frameworks import Framework
from bench.training import checkpoint
from bench.training.compaction import Paces
from methods.macs import TrainingMacs
from methods.method import SparseMethod


class TrainingError(Exception):
    """Training cannot go on."""


@dataclass(slots=True, kw_only=True)
class Training:
    """Everything that changes from step to step, and so everything that a checkpoint holds.

    Attributes:
        framework: the encoder pair and its heads.
        method: what masks or gates them.
        optimizer: moves their latents.
        scheduler: of the learning rate.
        training_macs: sums them up.
        step: optimizer steps taken.
        losses: one a step.
        masks: packed, ``POINT/BRANCH/LAYER`` to uint8, of the points that lie behind.
        cpu_seconds: CPU time of all steps, over all processes that continued the run.
        seconds: wall time of all steps, over all processes that continued the run.
        environments: the classes of environments that were at the run, in their order, each once.
        paces: CPU time of steps with masks and in the smaller network; empty unless the run goes on in one.
        step_seconds: wall time of each step of this process; the only thing here that no checkpoint holds.
    """

    framework: Framework
    method: SparseMethod
    optimizer: Optimizer
    scheduler: LRScheduler
    training_macs: TrainingMacs
    step: int = 0
    losses: list[float] = field(default_factory=list)
    masks: dict[str, Tensor] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    environments: tuple[str, ...] = ()
    paces: Paces = field(default_factory=dict)
    step_seconds: list[float] = field(default_factory=list)

    @property
    def step_milliseconds(self) -> float:
        """Median wall time of an optimizer step of this process; nan if it took none."""
        return 1e3 * statistics.median(self.step_seconds) if self.step_seconds else math.nan

    def state(self) -> checkpoint.State:
        """Return tensors, numbers, strings and containers of them."""
        return {
            "framework": owned(self.framework),
            "buffers": dict(self.framework.unsaved_buffers()),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "training_macs": self.training_macs.state_dict(),
            "random": torch.get_rng_state(),
            "step": self.step,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "masks": self.masks,
            "cpu_seconds": self.cpu_seconds,
            "seconds": self.seconds,
            "environments": list(self.environments),
            "paces": self.paces,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` returned."""
        missing, unexpected = self.framework.load_state_dict(state["framework"], strict=False)
        shared = set(self.framework.state_dict()) - set(owned(self.framework))
        if unexpected or not set(missing) <= shared:
            raise TrainingError(
                f"checkpoint: missing {sorted(set(missing) - shared)}, unexpected {sorted(unexpected)}."
            )
        for name, buffer in self.framework.unsaved_buffers().items():
            buffer.copy_(state["buffers"][name])
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.training_macs.load_state_dict(state["training_macs"])
        torch.set_rng_state(state["random"])
        self.step, self.cpu_seconds = state["step"], state["cpu_seconds"]
        self.seconds, self.environments = state["seconds"], tuple(state["environments"])
        self.paces = state["paces"]
        self.losses, self.masks = state["losses"].tolist(), state["masks"]


def owned(framework: Framework) -> dict[str, Tensor]:
    """Return the state dict, each tensor once: of a tied twin only what it owns (its masks)."""
    state, seen = {}, set()
    for name, tensor in framework.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            state[name] = tensor.detach()
    return state
