"""From a run to its parts: devices, encoder pair, sparse method, optimizer."""

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.optim import Optimizer

from bench import provenance
from bench.config.run import UNTRAINED, Run
from bench.data.dataset import Dataset
from bench.errors import RunError, unknown
from bench.frameworks import FRAMEWORKS, Framework, Wiring
from bench.training import compiled, encoders
from bench.training.compaction import Compaction, start_of
from bench.training.optimizers import OPTIMIZERS
from bench.views import recipes
from methods import GATES, METHODS, build, masking
from methods.gating.setting import GateSetting, parse_slice
from methods.granularity import parse
from methods.method import SparseMethod
from methods.setting import Setting


def fabric_for(run: Run, *, device: str = "cpu", devices: int = 1, nodes: int = 1) -> Fabric:
    """Return a launched Fabric.

    While it trains no buffer is broadcast: that would hide masks that differ between ranks, and give all ranks the
    running statistics of rank 0. DDP broadcasts weights and buffers once, when it is set up, before a checkpoint gives
    each rank back its own; by then ``ranks.require_one_start`` has found them equal.

    Args:
        run: whose precision it is.
        device: ``cpu``, ``cuda`` or ``auto``.
        devices: ranks on this machine.
        nodes: machines with so many ranks each.

    Raises:
        RunError: the ranks do not divide a batch.
    """
    images, world = run.optimizer.batch_images, devices * nodes
    if images % world:
        raise RunError(
            f"{run.cell}: batches of {images} images cannot be shared out evenly over {world} ranks. Use a number of "
            "ranks that divides them, or set optimizer.batch_images."
        )
    fabric = Fabric(
        accelerator=device,
        devices=devices,
        num_nodes=nodes,
        strategy=DDPStrategy(forward_sync_buffers=False) if devices * nodes > 1 else "auto",
        precision=run.optimizer.precision,
    )
    fabric.launch()
    return fabric


def check(run: Run, dataset: Dataset, *, compiles: bool = False) -> None:
    """Put a run together and throw it away: what cannot be built, or cannot train so, is refused before it starts.

    Args:
        run: the run.
        dataset: its images.
        compiles: whether its encoders shall train as ``torch.compile`` translates them.

    Raises:
        RunError: with what building says; it is the settings that are wrong, whatever part noticed.
    """
    spec, images = run.optimizer, len(dataset.train.images)
    if compiles:
        compiled.require(run)
    try:
        recipes.build(run.views, seed=run.seed, images=images, side=dataset.train.images.shape[-1])
        framework, method = framework_for(run), method_for(run)
        framework.require(batch_images=spec.batch_images, train_images=images)
        framework.require_classes(len(dataset.classes))
        total_steps = run.total_steps(images)
        method.attach(framework.branches, total_steps)
        compacts_from = start_of(run, method, total_steps)
        if compacts_from is not None:
            Compaction(framework.branches, compacts_from).before_forward(compacts_from)
        optimizer_for(run, framework)
        method.hold_out(recipes.normalise(dataset.held_out.seen[:2]))  # two tell what gates cost: what can be reached
    except RunError:
        raise
    except ValueError as error:
        raise RunError(f"{run.cell}: {error}") from error


def env_class_for(run: Run, fabric: Fabric, *, compiles: bool = False) -> str:
    """Return the class of environments that this run belongs to.

    Args:
        run: whose precision counts.
        fabric: the devices.
        compiles: whether the encoders train as ``torch.compile`` translates them.
    """
    device = fabric.device
    if device.type == "cuda":
        cudnn = f"cudnn{torch.backends.cudnn.version()}"
        # PyTorch convolves float32 in TF32 unless it is told not to: ten bits behind the first.
        convolves = "tf32" if torch.backends.cudnn.allow_tf32 else "float32"
        processor = f"{torch.cuda.get_device_name(device)}/cuda{torch.version.cuda}/{cudnn}/{convolves}"
    else:
        processor = provenance.cpu(torch.backends.cpu.get_cpu_capability())
    return provenance.env_class(
        processor=processor,
        threads=torch.get_num_threads(),
        precision=run.optimizer.precision,
        ranks=fabric.world_size,
        compiles=compiles,
    )


def framework_for(run: Run, *, gather: bool = False) -> Framework:
    """Build encoder, masks, twin or copy, and heads from the run's seed; the encoder first, so that cells share it.

    Args:
        run: the run.
        gather: share negatives over ranks.

    Raises:
        RunError: no such framework or encoder.
    """
    if run.framework.name not in FRAMEWORKS:
        raise RunError(f"{run.cell}: {unknown('framework', run.framework.name, FRAMEWORKS)}")
    torch.manual_seed(run.seed)
    encoder, features = encoders.build(run.encoder)
    masking.install(encoder)
    wiring = Wiring(gather=gather, own_statistics=method_for(run).splits_branches)
    framework = FRAMEWORKS[run.framework.name](encoder, features, run.framework, wiring)
    return framework.to(memory_format=torch.channels_last)


def require_known(run: Run) -> None:
    """Refuse a method and a granularity that nothing has the name of, which is known before images are there.

    Raises:
        RunError: there is no such method, gate or granularity.
    """
    sparsity = run.sparsity
    if sparsity.reduction and sparsity.method not in GATES:
        raise RunError(f"{run.cell}: {unknown('gating method', sparsity.method, GATES)} Others take a density (d0.10).")
    if not sparsity.reduction and sparsity.method not in {*METHODS, UNTRAINED}:
        gates = f"With a reduction (t1.50), from {', '.join(GATES)}."
        raise RunError(f"{run.cell}: {unknown('method', sparsity.method, METHODS)} {gates}")
    try:
        (parse_slice if sparsity.reduction else parse)(sparsity.granularity)
    except ValueError as error:
        raise RunError(f"{run.cell}: {error}") from error


def method_for(run: Run) -> SparseMethod:
    """Build the run's sparse method.

    Raises:
        RunError: no such method, or a setting it cannot meet.
    """
    require_known(run)
    sparsity = run.sparsity
    if sparsity.reduction:
        return _gates_for(run)
    return build(
        METHODS,
        "dense" if sparsity.method == UNTRAINED else sparsity.method,
        Setting(
            density=sparsity.density,
            gap=sparsity.gap,
            granularity=parse(sparsity.granularity),
            start_fraction=sparsity.start_fraction,
            end_fraction=sparsity.end_fraction,
            period_fraction=sparsity.period_fraction,
            seed=run.seed,
        ),
        sparsity.options,
    )


def _gates_for(run: Run) -> SparseMethod:
    sparsity = run.sparsity
    return build(
        GATES,
        sparsity.method,
        GateSetting(
            reduction=sparsity.reduction,
            slice_channels=parse_slice(sparsity.granularity),
            period_fraction=sparsity.period_fraction,
            seed=run.seed,
        ),
        sparsity.options,
    )


def optimizer_for(run: Run, framework: Framework) -> Optimizer:
    """Build the optimizer.

    Raises:
        RunError: no such optimizer.
    """
    name = run.optimizer.name
    if name not in OPTIMIZERS:
        raise RunError(f"{run.cell}: {unknown('setting optimizer.name:', name, OPTIMIZERS)}")
    return OPTIMIZERS[name](run.optimizer, framework)
