"""The training loop: one run, top to bottom."""

import contextlib
import hashlib
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightly.utils.scheduler import CosineWarmupScheduler
from lightning_fabric import Fabric
from torch import Tensor, nn

from bench.config.run import Run
from bench.data.dataset import Dataset
from bench.frameworks import Framework
from bench.ticks import Phase, Tick
from bench.training import checkpoint, parts, passes
from bench.training.facts import facts, gate_facts, maps, shape
from bench.training.mask_file import mask_points, packed
from bench.training.state import Training, TrainingError
from bench.views import recipes
from methods.macs import TrainingMacs
from methods.method import SparseMethod


@dataclass(frozen=True, slots=True)
class Pretrained:
    """What training leaves behind.

    Attributes:
        encoder: the exported online encoder, plain, zeros baked in.
        target: with gates, the target's; the online one where both branches are one function; else None.
        features: with gates, ``[N, F]`` of the scored images, online; else None.
        facts: exact properties of the run, for the record.
        masks: packed masks, ``POINT/BRANCH/LAYER`` to uint8, for the ``.masks.npz`` file; with gates, also their maps.
        step_milliseconds: median wall time of an optimizer step of this process; nan if it took none.
        cpu_seconds: CPU time of all steps, over all processes that continued the run.
        measuring_cpu_seconds: of what came after the last step, chiefly what gates do on the scored images.
    """

    encoder: nn.Module
    target: nn.Module | None
    features: Tensor | None
    facts: dict[str, object]
    masks: dict[str, Tensor]
    step_milliseconds: float
    cpu_seconds: float
    measuring_cpu_seconds: float


def pretrain(
    run: Run, dataset: Dataset, path: Path, *, fabric: Fabric, tick: Tick, checkpoint_seconds: float = 10.0
) -> Pretrained:
    """Train one run, continuing from its checkpoint at ``path`` if there is one.

    Args:
        run: the run.
        dataset: its images.
        path: of the checkpoint, rewritten about every ``checkpoint_seconds``, when interrupted, and at the end.
        fabric: devices and precision.
        tick: called after every step, and after every batch of images that gates settle on; may raise
            ``KeyboardInterrupt``.
        checkpoint_seconds: wall time between checkpoints; it changes no number.

    Raises:
        TrainingError: the loss is not finite.
        CheckpointError: the checkpoint is unreadable or another run's.
    """
    images, labels, spec = dataset.train.images, dataset.train.labels, run.optimizer
    steps_per_epoch = run.steps_per_epoch(len(images))
    total_steps = spec.epochs * steps_per_epoch
    views = recipes.build(run.views, seed=run.seed, images=len(images))

    # On its device before the method sees it: averages of the weights must live where the weights will.
    framework = parts.framework_for(run, gather=fabric.world_size > 1).to(fabric.device)
    framework.require(batch_images=spec.batch_images, train_images=len(images))
    method = parts.method_for(run)
    method.attach(framework.branches, total_steps)
    optimizer = parts.optimizer_for(run, framework)
    scheduler = CosineWarmupScheduler(
        optimizer,
        warmup_epochs=min(total_steps, round(spec.warmup_epochs * steps_per_epoch)),
        max_epochs=max(1, total_steps),
    )
    module, optimizer = fabric.setup(framework, optimizer)
    module.mark_forward_method("loss")
    method.hold_out(recipes.normalise(dataset.held_out.images.to(fabric.device)))
    training = Training(
        framework=framework,
        method=method,
        optimizer=optimizer,
        scheduler=scheduler,
        training_macs=TrainingMacs(framework.branches, shape(dataset), framework.passes),
    )
    env_class = parts.env_class_for(run, fabric)
    state = checkpoint.load(path, run, dataset.fingerprint, env_class)
    if state is not None:
        training.restore(state)

    def save() -> None:
        training.cpu_seconds += clock.lap()
        if fabric.is_global_zero:
            checkpoint.save(path, run, dataset.fingerprint, env_class, training.state())

    def telling(phase: Phase) -> contextlib.AbstractContextManager[None]:
        """Tell of the images that gates are shown; without gates none are."""
        return passes.told(framework.online, tick, phase) if run.sparsity.reduction else contextlib.nullcontext()

    def step_loss(step: int) -> float:
        """Forward and backward of one optimizer step; return the mean loss over micro-batches and ranks."""
        epoch, position = divmod(step, steps_per_epoch)
        mean = 0.0
        for micro in range(spec.accumulate_batches):
            start = (position * spec.accumulate_batches + micro) * spec.batch_images
            samples = order.of(epoch)[start : start + spec.batch_images][fabric.global_rank :: fabric.world_size]
            view0, view1 = views.views(images[samples].to(fabric.device), samples, epoch)
            last = micro == spec.accumulate_batches - 1
            with fabric.no_backward_sync(module, enabled=not last):
                with fabric.autocast():  # on one device, Fabric passes a marked method by, and its precision with it
                    loss = module.loss(view0, view1, labels[samples].to(fabric.device))
                loss = (loss + method.penalty()) / spec.accumulate_batches
                fabric.backward(loss)
            reduced = fabric.all_reduce(loss.detach())
            assert isinstance(reduced, Tensor)
            mean += reduced.item()
        return mean

    order, clock, durations = _Order(run.seed, len(images)), _Clock(), list[float]()
    kept, saved_at = mask_points(run, total_steps), time.monotonic()
    while training.step < total_steps:
        step, began = training.step, time.perf_counter()
        method.before_forward(step)
        training.losses.append(step_loss(step))
        if not math.isfinite(training.losses[-1]):
            raise TrainingError(
                f"{run.run_id}: the loss is {training.losses[-1]} at step {step} of {total_steps}. "
                "Lower the learning rate or use precision 32-true."
            )
        training.training_macs.observe()
        if method.on_gradient(step, optimizer):
            optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        framework.update_target(step, total_steps)
        with telling("settling") if training.step == total_steps - 1 else contextlib.nullcontext():
            method.on_step(step)
        training.masks |= {key: bits for name in kept.get(step, ()) for key, bits in packed(name, framework).items()}
        training.step = step + 1
        durations.append(time.perf_counter() - began)
        try:
            tick(training.step, total_steps)
        except KeyboardInterrupt:  # between two steps: the state is whole
            save()
            raise
        if training.step == total_steps or time.monotonic() - saved_at > checkpoint_seconds:
            save()
            saved_at = time.monotonic()
    encoder = method.export(framework.online)
    with telling("scoring"):
        gates = method.gate_facts(lambda: recipes.normalise(dataset.test.images.to(fabric.device)))
    return Pretrained(
        encoder=encoder,
        target=_target(framework, method, encoder) if gates else None,
        features=gates.features if gates else None,
        facts=facts(run, dataset, training, encoder) | gate_facts(framework, gates),
        masks=training.masks | packed("final", framework) | maps(gates, dataset),
        step_milliseconds=1e3 * float(np.median(durations)) if durations else math.nan,
        cpu_seconds=training.cpu_seconds,
        measuring_cpu_seconds=clock.lap(),
    )


def _target(framework: Framework, method: SparseMethod, online: nn.Module) -> nn.Module:
    """Return the target's plain encoder: ``online`` where both branches are one function of an image."""
    is_one = framework.tied and not method.splits_branches
    return online if is_one else method.export(framework.target)


class _Clock:
    """CPU time since the last lap."""

    def __init__(self) -> None:
        self._then = time.process_time()

    def lap(self) -> float:
        then, self._then = self._then, time.process_time()
        return self._then - then


class _Order:
    """The order of the images in an epoch: the same whatever the batch, the ranks or the resume point."""

    def __init__(self, seed: int, images: int) -> None:
        self._seed, self._images, self._epoch = seed, images, -1
        self._order = torch.empty(0)

    def of(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            digest = hashlib.sha256(f"order/{self._seed}/{epoch}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
            self._order, self._epoch = torch.randperm(self._images, generator=generator), epoch
        return self._order
