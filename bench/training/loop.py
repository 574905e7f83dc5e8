"""The training loop: one run, top to bottom."""

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightly.utils.scheduler import CosineWarmupScheduler
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.config.run import Run
from bench.data.dataset import Dataset
from bench.frameworks import Framework
from bench.training import checkpoint, parts
from bench.views import recipes
from methods import macs, masking
from methods.granularity import base
from methods.macs import TrainingMacs
from methods.method import GateFacts, SparseMethod

Tick = Callable[[int, int], None]


class TrainingError(Exception):
    """Training cannot go on."""


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


@dataclass(slots=True, kw_only=True)
class _Training:
    """Everything that changes from step to step, and so everything that a checkpoint holds."""

    framework: Framework
    method: SparseMethod
    optimizer: Optimizer
    scheduler: CosineWarmupScheduler
    training_macs: TrainingMacs
    step: int = 0
    losses: list[float] = field(default_factory=list)
    masks: dict[str, Tensor] = field(default_factory=dict)
    cpu_seconds: float = 0.0

    def state(self) -> checkpoint.State:
        """Return tensors, numbers, strings and containers of them."""
        return {
            "framework": _owned(self.framework),
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
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state`` returned."""
        missing, unexpected = self.framework.load_state_dict(state["framework"], strict=False)
        shared = set(self.framework.state_dict()) - set(_owned(self.framework))
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
        self.losses, self.masks = state["losses"].tolist(), state["masks"]


def pretrain(
    run: Run, dataset: Dataset, path: Path, *, fabric: Fabric, tick: Tick, checkpoint_seconds: float = 10.0
) -> Pretrained:
    """Train one run, continuing from its checkpoint at ``path`` if there is one.

    Args:
        run: the run.
        dataset: its images.
        path: of the checkpoint, rewritten about every ``checkpoint_seconds``, when interrupted, and at the end.
        fabric: devices and precision.
        tick: called with (steps done, steps in all); may raise ``KeyboardInterrupt``.
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
    training = _Training(
        framework=framework,
        method=method,
        optimizer=optimizer,
        scheduler=scheduler,
        training_macs=TrainingMacs(framework.branches, _shape(dataset), framework.passes),
    )
    env_class = parts.env_class_for(run, fabric)
    state = checkpoint.load(path, run, dataset.fingerprint, env_class)
    if state is not None:
        training.restore(state)

    def save() -> None:
        training.cpu_seconds += clock.lap()
        if fabric.is_global_zero:
            checkpoint.save(path, run, dataset.fingerprint, env_class, training.state())

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
    kept, saved_at = _mask_points(run, total_steps), time.monotonic()
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
    gates = method.gate_facts(lambda: recipes.normalise(dataset.test.images.to(fabric.device)))
    return Pretrained(
        encoder=encoder,
        target=_target(framework, method, encoder) if gates else None,
        features=gates.features if gates else None,
        facts=_facts(run, dataset, training, encoder) | _gate_facts(framework, gates),
        masks=training.masks | packed("final", framework) | _maps(gates, dataset),
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


def _mask_points(run: Run, total_steps: int) -> dict[int, list[str]]:
    """Return after which steps masks are kept: at five points from the start to the end of the mask schedule."""
    start, end = run.sparsity.start_fraction, run.sparsity.end_fraction
    points: dict[int, list[str]] = {}
    for index in range(5):
        step = round(total_steps * (start + (end - start) * index / 4))
        points.setdefault(min(step, max(0, total_steps - 1)), []).append(f"point{index}")
    return points


def packed(name: str, framework: Framework) -> dict[str, Tensor]:
    """Return the masks of both branches, 8 to a byte, as ``NAME/BRANCH/LAYER``."""
    bits = {}
    for branch, module in (("online", framework.online), ("target", framework.target)):
        for layer, mask in masking.read(module).items():
            flat = mask.reshape(-1).numpy(force=True).astype(bool)
            bits[f"{name}/{branch}/{layer}"] = torch.from_numpy(np.packbits(flat))
    return bits


def _owned(framework: Framework) -> dict[str, Tensor]:
    """Return the state dict, each tensor once: of a tied twin only what it owns (its masks)."""
    state, seen = {}, set()
    for name, tensor in framework.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            state[name] = tensor.detach()
    return state


def _shape(dataset: Dataset) -> tuple[int, int, int]:
    """Return (channels, height, width) of an image."""
    channels, height, width = dataset.train.images.shape[1:]
    return channels, height, width


def _facts(run: Run, dataset: Dataset, training: _Training, encoder: nn.Module) -> dict[str, object]:
    """Gather what is exact about the run. Counts are of weights, MACs of one image."""
    framework, facts, spec = training.framework, training.method.facts(), run.optimizer
    online, target = masking.counts(framework.online), masking.counts(framework.target)
    losses = np.asarray(training.losses, dtype=np.float64)
    return {
        "optimizer_steps": training.step,
        "update_steps": list(facts.update_steps),
        "samples_seen": training.step * spec.batch_images * spec.accumulate_batches,
        "train_images": len(dataset.train.images),
        "data_fingerprint": dataset.fingerprint,
        "prunable_weights": sum(weight.numel() for weight in masking.latent(framework.online).values()),
        "kept_per_layer": online,
        "kept_per_layer_target": target,
        "kept_weights": sum(online.values()),
        "kept_weights_target": sum(target.values()),
        "density_prunable": macs.density_prunable(framework.online),
        "density_encoder": macs.density_encoder(framework.online),
        "dense_macs": sum(macs.inference_macs(framework.online, _shape(dataset)).values()),
        "macs_ratio": macs.macs_ratio(framework.online, _shape(dataset)),
        "training_macs_ratio": training.training_macs.ratio if training.step else 0.0,
        "mask_digest": masking.digest(framework.online),
        "mask_digest_target": masking.digest(framework.target),
        "weights_digest": masking.weights_digest(encoder),
        "loss_digest": hashlib.sha256(losses.tobytes()).hexdigest(),
        "loss_curve": [round(float(loss), 6) for loss in losses[:: max(1, training.step // 50)]],
        "curves": {name: [round(value, 6) for value in values] for name, values in facts.curves.items()},
        **_left_dense(run, framework),
    }


def _gate_facts(framework: Framework, gates: GateFacts | None) -> dict[str, object]:
    """Return what gates change about a run's facts: MACs are no longer those of the masks."""
    if gates is None:
        return {}
    ratio = framework.passes.training_ratio(gates.online_share, gates.target_share)
    return {**gates.facts, "training_macs_ratio": ratio}


def _maps(gates: GateFacts | None, dataset: Dataset) -> dict[str, Tensor]:
    """Return gate maps as bytes, ``gates/BRANCH/LAYER``, and the images they belong to, ``gates/images``."""
    if gates is None:
        return {}
    packed_maps = {f"gates/{name}": (255 * each).round().byte().cpu() for name, each in gates.maps.items()}
    return packed_maps | {"gates/images": dataset.test.images[: len(next(iter(packed_maps.values())))]}


def _left_dense(run: Run, framework: Framework) -> dict[str, object]:
    """Name the prunable layers that a pattern does not fit; of single weights there is nothing to say."""
    if run.sparsity.reduction:
        return {}
    shapes = base.parse(run.sparsity.granularity)
    if shapes == base.Elementwise():
        return {}
    latents = masking.latent(framework.online)
    return {"layers_left_dense": [path for path, weight in latents.items() if not shapes.fits(weight.shape)]}
