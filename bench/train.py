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
from lightly.models.utils import get_weight_decay_parameters
from lightly.utils.lars import LARS
from lightly.utils.scheduler import CosineWarmupScheduler
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from bench import augment, checkpoint, encoders
from bench.config import UNTRAINED, Run
from bench.data import Dataset
from bench.frameworks import FRAMEWORKS, Framework
from methods import METHODS, granularity, macs, masking
from methods.base import Facts, Setting, SparseMethod
from methods.macs import TrainingMacs

Tick = Callable[[int, int], None]


class TrainingError(Exception):
    """Training cannot go on."""


@dataclass(frozen=True, slots=True)
class Pretrained:
    """What training leaves behind.

    Attributes:
        encoder: the exported online encoder, plain, zeros baked in.
        facts: exact properties of the run, for the record.
        masks: packed masks, ``POINT/BRANCH/LAYER`` to uint8, for the ``.masks.npz`` file.
        step_milliseconds: median wall time of an optimizer step of this process; nan if it took none.
        cpu_seconds: CPU time of all steps, over all processes that continued the run.
    """

    encoder: nn.Module
    facts: dict[str, object]
    masks: dict[str, Tensor]
    step_milliseconds: float
    cpu_seconds: float


@dataclass(slots=True)
class _Progress:
    """What grows along the run, besides the modules."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    masks: dict[str, Tensor] = field(default_factory=dict)
    cpu_seconds: float = 0.0


def fabric_for(run: Run, *, accelerator: str = "cpu", devices: int = 1, nodes: int = 1) -> Fabric:
    """Return a launched Fabric. Buffers are never broadcast: that would hide masks that differ between ranks."""
    strategy = DDPStrategy(broadcast_buffers=False) if devices * nodes > 1 else "auto"
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        precision=run.optimizer.precision,
    )
    fabric.launch()
    return fabric


def method_for(run: Run) -> SparseMethod:
    """Build the run's sparse method.

    Raises:
        ValueError: no such method, or a setting it cannot meet.
    """
    sparsity = run.sparsity
    name = "dense" if sparsity.method == UNTRAINED else sparsity.method
    if name not in METHODS:
        raise ValueError(f"method {name!r} is unknown. Choose from {', '.join(METHODS)}.")
    return METHODS[name](
        Setting(
            density=sparsity.density,
            gap=sparsity.gap,
            granularity=granularity.parse(sparsity.granularity),
            start_fraction=sparsity.start_fraction,
            end_fraction=sparsity.end_fraction,
            period_fraction=sparsity.period_fraction,
            seed=run.seed,
        )
    )


def framework_for(run: Run, *, gather: bool = False) -> Framework:
    """Build encoder, masks, twin or copy, and heads from the run's seed (the encoder first: methods share it)."""
    if run.framework.name not in FRAMEWORKS:
        raise ValueError(f"framework {run.framework.name!r} is unknown. Choose from {', '.join(FRAMEWORKS)}.")
    torch.manual_seed(run.seed)
    encoder, features = encoders.build(run.encoder)
    masking.install(encoder)
    framework = FRAMEWORKS[run.framework.name](encoder, features, run.framework, gather=gather)
    return framework.to(memory_format=torch.channels_last)


def optimizer_for(run: Run, framework: Framework) -> Optimizer:
    """Build the optimizer. LARS leaves norms and biases out of decay and scaling, as You et al. (2017) do."""
    spec = run.optimizer
    if spec.name == "sgd":
        trained = [parameter for parameter in framework.parameters() if parameter.requires_grad]
        return SGD(trained, lr=spec.learning_rate, momentum=spec.momentum, weight_decay=spec.weight_decay)
    if spec.trust_coefficient is None:
        raise ValueError("optimizer lars needs trust_coefficient. Set it in the profile.")
    decayed, undecayed = get_weight_decay_parameters([framework])
    groups = [
        {"params": _trained_once(decayed), "weight_decay": spec.weight_decay},
        {"params": _trained_once(undecayed), "weight_decay": 0.0},
    ]
    return LARS(
        groups, lr=spec.learning_rate, momentum=spec.momentum, trust_coefficient=spec.trust_coefficient
    )


def _trained_once(parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    """Drop frozen parameters and the second sight of a tied one."""
    return list(dict.fromkeys(parameter for parameter in parameters if parameter.requires_grad))


def pretrain(
    run: Run, dataset: Dataset, path: Path, *, fabric: Fabric, tick: Tick, checkpoint_seconds: float = 10.0
) -> Pretrained:
    """Train one run, continuing from its checkpoint at ``path`` if there is one.

    Args:
        run: the run.
        dataset: its images.
        path: of the checkpoint, rewritten about every ``checkpoint_seconds`` and at the end.
        fabric: devices and precision.
        tick: called with (steps done, steps in all).
        checkpoint_seconds: wall time between checkpoints; it changes no number.

    Raises:
        TrainingError: the loss is not finite.
        CheckpointError: the checkpoint is unreadable or another run's.
    """
    images, spec = dataset.train.images, run.optimizer
    steps_per_epoch = run.steps_per_epoch(len(images))
    total_steps = spec.epochs * steps_per_epoch
    views = augment.build(run.views, seed=run.seed, images=len(images))

    framework = framework_for(run, gather=fabric.world_size > 1)
    method = method_for(run)
    method.attach(framework.branches, total_steps)
    optimizer = optimizer_for(run, framework)
    scheduler = CosineWarmupScheduler(
        optimizer, warmup_epochs=round(spec.warmup_epochs * steps_per_epoch), max_epochs=max(1, total_steps)
    )
    module, optimizer = fabric.setup(framework, optimizer)
    module.mark_forward_method("loss")
    image_shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
    training_macs = TrainingMacs(framework.branches, image_shape, framework.passes)
    done = _Progress()
    state = checkpoint.load(path, run, dataset.fingerprint)
    if state is not None:
        _restore(state, framework, optimizer, scheduler, method, training_macs, done)
    keep = _mask_points(run, total_steps)

    resumed_at, durations = done.step, []
    started_cpu, cpu_before = time.process_time(), done.cpu_seconds
    saved_at = time.monotonic()

    def save() -> None:
        done.cpu_seconds = cpu_before + time.process_time() - started_cpu
        if fabric.is_global_zero:
            checkpoint.save(
                path, run, dataset.fingerprint, _state(framework, optimizer, scheduler, method, training_macs, done)
            )

    order, order_epoch = torch.empty(0), -1
    while done.step < total_steps:
        step, began = done.step, time.perf_counter()
        epoch, position = divmod(step, steps_per_epoch)
        if epoch != order_epoch:
            order, order_epoch = _order(run.seed, epoch, len(images)), epoch
        method.before_forward(step)
        loss_value = 0.0
        for micro in range(spec.accumulate_batches):
            start = (position * spec.accumulate_batches + micro) * spec.batch_images
            samples = order[start : start + spec.batch_images][fabric.global_rank :: fabric.world_size]
            view0, view1 = views.views(images[samples].to(fabric.device), samples, epoch)
            last = micro == spec.accumulate_batches - 1
            with fabric.no_backward_sync(module, enabled=not last):
                loss = (module.loss(view0, view1) + method.penalty()) / spec.accumulate_batches
                fabric.backward(loss)
            loss_value += float(fabric.all_reduce(loss.detach()))  # the mean over ranks
        if not math.isfinite(loss_value):
            raise TrainingError(
                f"{run.run_id}: the loss is {loss_value} at step {step} of {total_steps}. "
                "Lower the learning rate or use precision 32-true."
            )
        training_macs.observe()
        if method.on_gradient(step, optimizer):
            optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        framework.update_target(step, total_steps)
        method.on_step(step)
        done.losses.append(loss_value)
        done.step = step + 1
        for name in keep.get(step, ()):
            done.masks |= _packed(name, framework)
        durations.append(time.perf_counter() - began)
        try:
            tick(done.step, total_steps)
        except KeyboardInterrupt:  # between two steps: the state is whole
            save()
            raise
        if time.monotonic() - saved_at > checkpoint_seconds:
            save()
            saved_at = time.monotonic()
    if total_steps and done.step > resumed_at:
        save()
    done.cpu_seconds = cpu_before + time.process_time() - started_cpu
    masks = done.masks | _packed("final", framework)
    encoder = method.export(framework.branches)
    facts = _facts(run, dataset, framework, method.facts(), training_macs, done, encoder)
    median = 1e3 * float(np.median(durations)) if durations else math.nan
    return Pretrained(encoder, facts, masks, median, done.cpu_seconds)


def _order(seed: int, epoch: int, images: int) -> Tensor:
    """Return the order of the images in one epoch: the same whatever the batch, the ranks or the resume point."""
    digest = hashlib.sha256(f"order/{seed}/{epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randperm(images, generator=generator)


def _mask_points(run: Run, total_steps: int) -> dict[int, list[str]]:
    """Return which steps' masks are kept: five points from the start to the end of the mask schedule."""
    start, end = run.sparsity.start_fraction, run.sparsity.end_fraction
    points: dict[int, list[str]] = {}
    for index in range(5):
        step = round(total_steps * (start + (end - start) * index / 4))
        points.setdefault(min(step, max(0, total_steps - 1)), []).append(f"point{index}")
    return points


def _packed(name: str, framework: Framework) -> dict[str, Tensor]:
    """Return the masks of both branches, 8 to a byte, as ``NAME/BRANCH/LAYER``."""
    packed = {}
    for branch, module in (("online", framework.online), ("target", framework.target)):
        for layer, mask in masking.read(module).items():
            bits = np.packbits(mask.contiguous().reshape(-1).numpy(force=True).astype(bool))
            packed[f"{name}/{branch}/{layer}"] = torch.from_numpy(bits)
    return packed


def _owned(framework: Framework) -> dict[str, Tensor]:
    """Return the state dict, each tensor once: of a tied twin only what it owns (its masks)."""
    state, seen = {}, set()
    for name, tensor in framework.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            state[name] = tensor.detach()
    return state


def _state(
    framework: Framework,
    optimizer: Optimizer,
    scheduler: CosineWarmupScheduler,
    method: SparseMethod,
    training_macs: TrainingMacs,
    done: _Progress,
) -> checkpoint.State:
    return {
        "framework": _owned(framework),
        "buffers": dict(framework.unsaved_buffers()),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "method": method.state_dict(),
        "macs": training_macs.state_dict(),
        "random": torch.get_rng_state(),
        "step": done.step,
        "losses": torch.tensor(done.losses, dtype=torch.float64),
        "masks": done.masks,
        "cpu_seconds": done.cpu_seconds,
    }


def _restore(  # the mirror image of _state
    state: Mapping[str, object],
    framework: Framework,
    optimizer: Optimizer,
    scheduler: CosineWarmupScheduler,
    method: SparseMethod,
    training_macs: TrainingMacs,
    done: _Progress,
) -> None:
    value: dict[str, Any] = dict(state)
    missing, unexpected = framework.load_state_dict(value["framework"], strict=False)
    shared = set(framework.state_dict()) - set(_owned(framework))
    if unexpected or set(missing) != shared:
        raise TrainingError(f"checkpoint: missing {sorted(set(missing) - shared)}, unexpected {sorted(unexpected)}.")
    for name, buffer in framework.unsaved_buffers().items():
        buffer.copy_(value["buffers"][name])
    optimizer.load_state_dict(value["optimizer"])
    scheduler.load_state_dict(value["scheduler"])
    method.load_state_dict(value["method"])
    training_macs.load_state_dict(value["macs"])
    torch.set_rng_state(value["random"])
    done.step, done.cpu_seconds = value["step"], value["cpu_seconds"]
    done.losses, done.masks = value["losses"].tolist(), value["masks"]


def _facts(
    run: Run,
    dataset: Dataset,
    framework: Framework,
    facts: Facts,
    training_macs: TrainingMacs,
    done: _Progress,
    encoder: nn.Module,
) -> dict[str, object]:
    """Gather what is exact about the run. Counts are of weights, MACs of one image."""
    image_shape = tuple(dataset.train.images.shape[1:])
    online, target = masking.counts(framework.online), masking.counts(framework.target)
    spec = run.optimizer
    every = max(1, done.step // 50)
    return {
        "optimizer_steps": done.step,
        "update_steps": list(facts.update_steps),
        "samples_seen": done.step * spec.batch_images * spec.accumulate_batches,
        "train_images": len(dataset.train.images),
        "data_fingerprint": dataset.fingerprint,
        "kept_per_layer": online,
        "kept_per_layer_target": target,
        "kept_weights": sum(online.values()),
        "kept_weights_target": sum(target.values()),
        "prunable_weights": sum(weight.numel() for weight in masking.latent(framework.online).values()),
        "density_prunable": macs.density_prunable(framework.online),
        "density_encoder": macs.density_encoder(framework.online),
        "dense_macs": sum(macs.inference_macs(framework.online, image_shape).values()),
        "macs_ratio": macs.macs_ratio(framework.online, image_shape),
        "training_macs_ratio": training_macs.ratio if done.step else 0.0,
        "mask_digest": masking.digest(framework.online),
        "mask_digest_target": masking.digest(framework.target),
        "weights_digest": masking.weights_digest(encoder),
        "loss_digest": hashlib.sha256(np.asarray(done.losses, dtype=np.float64).tobytes()).hexdigest()[:16],
        "loss_curve": [round(loss, 6) for loss in done.losses[::every]],
        "curves": {name: [round(value, 6) for value in values] for name, values in facts.curves.items()},
    }
