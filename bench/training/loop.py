"""The training loop: one run, top to bottom."""

import contextlib
import math
import time
from pathlib import Path

from lightning_fabric import Fabric
from torch import Tensor

from bench.config.run import Run
from bench.data.dataset import Dataset
from bench.ticks import Tick
from bench.training import checkpoint, parts, passes, ranks, rates
from bench.training.batches import Batches
from bench.training.compaction import Compaction, start_of
from bench.training.compiled import Compiled
from bench.training.facts import shape, sides
from bench.training.mask_file import Snapshots
from bench.training.state import Training, TrainingError
from bench.views.pixels import normalise
from methods.macs import TrainingMacs


def pretrain(
    run: Run,
    dataset: Dataset,
    path: Path,
    *,
    fabric: Fabric,
    tick: Tick,
    checkpoint_seconds: float = 10.0,
    compiles: bool = False,
) -> Training:
    """Train one run, continuing from its checkpoint at ``path`` if there is one.

    Args:
        run: the run.
        dataset: its images.
        path: of the checkpoint, rewritten about every ``checkpoint_seconds``, when interrupted, and at the end.
        fabric: devices and precision.
        tick: called after every step, and after every batch of images that gates settle on; may raise
            ``KeyboardInterrupt``.
        checkpoint_seconds: wall time between checkpoints; it changes no number.
        compiles: whether the encoders train as ``torch.compile`` translates them, which rounds otherwise.

    Returns:
        The trained pair, its method and its history.

    Raises:
        RunError: the framework cannot train so.
        TrainingError: the loss is not finite, or ranks would start from different weights.
        CheckpointError: the checkpoint is unreadable or another run's.
    """
    spec, batches = run.optimizer, Batches(run, dataset, fabric)
    total_steps = batches.total_steps

    # On its device before the method sees it: averages of the weights must live where the weights will.
    framework = parts.framework_for(run, gather=fabric.world_size > 1).to(fabric.device)
    framework.require(batch_images=spec.batch_images, train_images=len(dataset.train.images))
    framework.require_classes(len(dataset.classes))
    method = parts.method_for(run)
    method.attach(framework.branches, total_steps)
    compact_from = start_of(run, method, total_steps)
    compaction = Compaction(framework.branches, compact_from)
    compiled = Compiled(framework.branches, enabled=compiles)
    snapshots = Snapshots(run, total_steps, method.window)
    optimizer = parts.optimizer_for(run, framework)
    warmup_steps = min(total_steps, round(spec.warmup_epochs * batches.steps_per_epoch))
    scheduler = rates.scheduler_for(optimizer, method.stages, warmup_steps=warmup_steps, total_steps=total_steps)
    ranks.require_one_start(framework)
    module, optimizer = fabric.setup(framework, optimizer)
    module.mark_forward_method("loss")
    method.hold_out(normalise(dataset.held_out.seen.to(fabric.device)))
    training = Training(
        framework=framework,
        method=method,
        optimizer=optimizer,
        scheduler=scheduler,
        training_macs=TrainingMacs(framework.branches, shape(dataset), framework.passes, sides(run)),
    )
    env_class = parts.env_class_for(run, fabric, compiles=compiles)
    state = checkpoint.load(path, run, dataset.fingerprint)
    if state is not None:
        training.restore(ranks.of_this_rank(state))
    training.environments = tuple(dict.fromkeys((*training.environments, env_class)))

    def step_loss(step: int) -> float:
        """Forward and backward of one optimizer step; return the mean loss over micro-batches and ranks."""
        mean = 0.0
        for micro in range(spec.accumulate_batches):
            view0, view1, labels = batches.of(step, micro)
            last = micro == spec.accumulate_batches - 1
            with fabric.no_backward_sync(module, enabled=not last):
                with fabric.autocast():  # on one device, Fabric passes a marked method by, and its precision with it
                    loss = module.loss(view0, view1, labels)
                loss = (loss + method.penalty()) / spec.accumulate_batches
                fabric.backward(loss)
            reduced = fabric.all_reduce(loss.detach())
            assert isinstance(reduced, Tensor)
            mean += reduced.item()
        if not math.isfinite(mean):
            raise TrainingError(
                f"{run.run_id}: the loss is {mean} at step {step} of {total_steps}. "
                "Lower the learning rate or use precision 32-true."
            )
        return mean

    def settles_after(step: int) -> bool:
        """Return whether gates are now shown images until they hold their reduction."""
        return bool(run.sparsity.reduction) and step == total_steps - 1

    def save() -> None:
        training.cpu_seconds += clock.lap()
        state = ranks.whole(training)
        if state is not None:
            checkpoint.save(path, run, dataset.fingerprint, env_class, state)

    clock, saved_at = _Clock(), time.monotonic()
    while training.step < total_steps:
        step, began, cpu_began = training.step, time.perf_counter(), time.process_time()
        compaction.before_forward(step)
        method.before_forward(step)
        with compiled.engaged():
            training.losses.append(step_loss(step))
        training.training_macs.observe(side=batches.side(step), dense_side=batches.side(step, as_control=False))
        if method.on_gradient(step, optimizer):
            optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        framework.update_target(step, total_steps)
        with passes.told(framework.online, tick, "settling") if settles_after(step) else contextlib.nullcontext():
            method.on_step(step)
        training.masks |= snapshots.after(step, framework)
        training.step = step + 1
        training.step_seconds.append(time.perf_counter() - began)
        training.seconds += training.step_seconds[-1]
        if compact_from is not None and batches.side(step) == batches.side(compact_from):
            compaction.timed(step, time.process_time() - cpu_began, training.paces)
        try:
            tick(training.step, total_steps)
        except KeyboardInterrupt:  # between two steps: the state is whole
            save()
            raise
        if ranks.agreed(training.step == total_steps or time.monotonic() - saved_at > checkpoint_seconds):
            save()
            saved_at = time.monotonic()
    compaction.release()
    ranks.joined(training)
    return training


class _Clock:
    """CPU time since the last lap."""

    def __init__(self) -> None:
        self._then = time.process_time()

    def lap(self) -> float:
        then, self._then = self._then, time.process_time()
        return self._then - then
