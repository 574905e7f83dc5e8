"""Runs on the virtual device: trained, stopped, resumed, exported and scored there, and what every step did."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from bench.config.run import Run
from bench.data.dataset import Dataset
from bench.evaluation import features, knn
from bench.training import checkpoint, loop, parts
from bench.training.exported import exported
from bench.training.facts import facts
from bench.training.state import Training
from bench.views.recipes import normalise
from methods.gating import control
from tests.strategies import counted_once
from tests.tiny import unread
from tests.virtual_device import CUDA, Counts, OnDevice, virtual_cuda

IMAGES = 16  # that features are made of, to be scored
ROUNDS = 2  # of settling gates: what is done in them is the same each time


class OneDevice:
    """What the loop asks of Fabric, with the virtual device."""

    device, world_size, global_rank, is_global_zero = CUDA, 1, 0, True

    def setup(self, module: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        module.mark_forward_method = lambda _: None  # type: ignore[assignment]  # a module without a wrapper
        return module, optimizer

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def no_backward_sync(self, _module: nn.Module, *, enabled: bool) -> Iterator[None]:
        del enabled
        yield

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def all_reduce(self, tensor: Tensor) -> Tensor:
        return tensor


@dataclass(frozen=True, kw_only=True)
class Walk:
    """A run on the virtual device.

    Attributes:
        steps: what each step did there.
        quiet: the steps that only train: no mask and no knob moved in them, or just before, so that masks are counted
            anew; and nothing was put on the device.
        losses: one a step.
        correct: images of ``IMAGES`` whose class the neighbours of their features tell.
    """

    steps: list[Counts]
    quiet: list[Counts]
    losses: list[float]
    correct: int


def walked(run: Run, images: Dataset, folder: Path, *, stops_at: int) -> Walk:
    """Train a run up to a step, resume it from its checkpoint, export and score it; all of it on the device."""
    steps, firsts = list[Counts](), list[int]()

    def saved(path: Path, run: Run, data_fingerprint: str, env_class: str, state: checkpoint.State) -> None:
        unread(path, run, data_fingerprint, env_class, _on_host(state))

    with (
        virtual_cuda() as counts,
        patch.object(checkpoint, "save", saved),
        patch.object(parts, "env_class_for", lambda *_, **__: "virtual"),
        counted_once(),
        patch.object(control, "SETTLING_ROUNDS", ROUNDS),
    ):
        before = counts.now()

        def tick(done: int, _total: int, phase: str = "training", /) -> None:
            nonlocal before
            if phase == "training":
                steps.append(counts.since(before))
                if done == len(steps) == stops_at:
                    raise KeyboardInterrupt
                before = counts.now()

        def train() -> Training:
            fabric: Any = OneDevice()
            firsts.append(len(steps))
            return loop.pretrain(
                run, images, folder / "checkpoint.pt", fabric=fabric, tick=tick, checkpoint_seconds=1e9
            )

        with contextlib.suppress(KeyboardInterrupt):
            train()
        trained = train()
        assert firsts == [0, stops_at]
        assert len(steps) == trained.step
        assert all(isinstance(each, OnDevice) for each in trained.framework.parameters())
        made = exported(trained, images.test.images[:IMAGES])
        facts(run, images, trained, made)
        seen = features.features(made.encoder, images.train.images[:IMAGES], normalise=normalise)
        labels = images.train.labels[:IMAGES]
        assert next(made.encoder.parameters()).device == CUDA
        correct = knn.knn(seen, labels, seen, labels, neighbours=1, temperature=0.1, device=CUDA)
    updates = trained.method.facts().update_steps
    moved = {*firsts, *updates, *(step + 1 for step in updates)}
    quiet = [_without_notes(each) for step, each in enumerate(steps) if step not in moved]
    return Walk(steps=steps, quiet=quiet, losses=trained.losses, correct=correct)


def _without_notes(step: Counts) -> Counts:
    """Return what a step did, but for the masks that were noted behind it: each is copied, and waited for."""
    noted = step.syncs["numpy"]
    return Counts(step.syncs - Counter(numpy=noted), step.copies, step.launches - Counter(_to_copy=noted))


def _on_host(state: Any) -> Any:
    """Return what a checkpoint gives back: it is read into the host's memory, wherever it was written from."""
    return tree_map(lambda each: each.held.detach().clone() if isinstance(each, OnDevice) else each, state)
