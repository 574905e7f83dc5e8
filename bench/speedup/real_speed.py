"""What sparsity really buys here: inference and training steps of every kind of zeros, measured beside modelled."""

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.config.profiles import PROFILES
from bench.config.run import EncoderSpec, Run
from bench.config.sparsity import SparsitySpec
from bench.frameworks import FRAMEWORKS, Wiring
from bench.speedup import zeros
from bench.speedup.subject import Subject
from bench.speedup.trace import trace
from bench.speedup.turns import Ratio, Speed, Speeds, speeds
from bench.speedup.zeros import TRAINED
from bench.training import parts
from bench.training.compaction import Compaction
from hardware import comparison, presets
from hardware.network.workload import Workload
from methods.gating.known import know
from methods.gating.layer import gated
from methods.gating.masked import MaskedConv2d
from methods.gating.measure import decisions

MACHINES = ("chip28nm", "element_core", "nm_core")  # those that skip zeros of weights
BATCHES = (1, 64)
PIXELS = 32
_LEAST_SECONDS = 0.02  # of a turn
_DATA = "cifar10"  # whose recipe it is; the images are noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row of the table.

    Attributes:
        subject: what is zero.
        modelled: machine -> speed-up of a training step.
        modelled_forward: machine -> speed-up of its forward passes.
        inference: images of a batch -> measured speed-up; nothing where nothing faster exists here.
        training: measured speed-up of a training step; ``None`` where inference alone is measured.
    """

    subject: Subject
    modelled: Mapping[str, float]
    modelled_forward: Mapping[str, float]
    inference: Mapping[int, Speed]
    training: Speed | None

    @property
    def conversion(self) -> Ratio | None:
        """How much of the reduction of multiply-accumulates became speed, in the largest batch."""
        if not self.inference:
            return None
        found, reduction = self.inference[max(self.inference)].cpu, self.subject.macs_reduction
        return Ratio(median=found.median / reduction, low=found.low / reduction, high=found.high / reduction)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealSpeed:
    """What was measured.

    Attributes:
        run: whose encoder and recipe it is.
        rounds: of turns.
        lines: the rows.
        dense: what was timed -> milliseconds of CPU time that the dense encoder needs.
        noise: what was timed -> dense over dense.
    """

    run: Run
    rounds: int
    lines: Sequence[Line]
    dense: Mapping[str, float]
    noise: Mapping[str, Ratio]


def measured(encoder: EncoderSpec, *, rounds: int, tell: Callable[[str], None] = lambda _: None) -> RealSpeed:
    """Let every kind of zeros take turns with the dense encoder.

    Args:
        encoder: which one.
        rounds: of turns.
        tell: called with a line of progress.
    """
    run = run_of(encoder)
    generator = torch.Generator().manual_seed(run.seed)
    images = torch.randn(max(*BATCHES, 2 * TRAINED), 3, PIXELS, PIXELS, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.random.fork_rng(devices=()):
        dense = zeros.dense(run, images)
        network = trace(run, "real-speed", image_pixels=PIXELS)
        found = list(zeros.subjects(dense, network, images))
        steps = {each.name: _step(run, each.trains, images, each) for each in found if each.trains is not None}
        step = _step(run, dense, images)
    quick = {each.name: each.infers for each in found if each.infers is not None}
    inference: dict[int, Speeds] = {}
    for count in BATCHES:
        tell(f"inference, batches of {count}: {len(quick)} encoders and the dense one, {rounds} rounds")
        batch = images[:count].contiguous(memory_format=torch.channels_last)
        inference[count] = speeds(
            _forward(dense, batch),
            {name: _forward(each, batch) for name, each in quick.items()},
            rounds=rounds,
            least_seconds=_LEAST_SECONDS,
        )
    tell(f"training steps of 2 x {TRAINED} views: {len(steps)} encoders and the dense one, {rounds} rounds")
    training = speeds(step, steps, rounds=rounds)
    timed = {**{f"inference, batch {count}": each for count, each in inference.items()}, "training step": training}
    return RealSpeed(
        run=run,
        rounds=rounds,
        lines=[_line(each, network, inference, training) for each in found],
        dense={name: 1e3 * each.seconds for name, each in timed.items()},
        noise={name: each.noise for name, each in timed.items()},
    )


def _line(subject: Subject, network: Workload, inference: Mapping[int, Speeds], training: Speeds) -> Line:
    rows = {
        machine: comparison.rows(network, presets.machine(machine), subject.states, subject.states)
        for machine in MACHINES
    }
    return Line(
        subject=subject,
        modelled={machine: each["step"].speed_up for machine, each in rows.items()},
        modelled_forward={machine: each["FP"].speed_up for machine, each in rows.items()},
        inference={count: each.of[subject.name] for count, each in inference.items() if subject.name in each.of},
        training=training.of.get(subject.name),
    )


def run_of(encoder: EncoderSpec) -> Run:
    """Return the dense run whose encoder, recipe and step are measured."""
    run = PROFILES["smoke"].run("simclr", SparsitySpec(method="dense"), _DATA)
    optimizer = dataclasses.replace(run.optimizer, batch_images=TRAINED)
    return dataclasses.replace(run, encoder=encoder, optimizer=optimizer)


def _forward(encoder: nn.Module, batch: Tensor) -> Callable[[], object]:
    encoder = encoder.eval()

    def forward() -> None:
        with torch.no_grad():
            encoder(batch)

    return forward


def _step(run: Run, encoder: nn.Module, images: Tensor, subject: Subject | None = None) -> Callable[[], object]:
    """Return an optimizer step of SimCLR on two views that are there: forward, backward, update."""
    with torch.no_grad():
        features = encoder.eval()(images[:1]).shape[1]
    framework = FRAMEWORKS[run.framework.name](copy.deepcopy(encoder), features, run.framework, Wiring())
    framework = framework.to(memory_format=torch.channels_last).train()
    if subject is not None and subject.trains_compactly:
        Compaction(framework.branches, 0).before_forward(0)
    views = images[: 2 * TRAINED].split(TRAINED)
    if subject is not None and subject.knows_gates:
        for branch, view in zip((framework.branches.online, framework.branches.target), views, strict=True):
            know(branch, decisions(branch, view))
    optimizer = parts.optimizer_for(run, framework)
    labels = torch.zeros(TRAINED, dtype=torch.int64)
    masked = [layer for layer in gated(framework).values() if isinstance(layer, MaskedConv2d)]

    def step() -> None:
        framework.loss(views[0], views[1], labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for layer in masked:
            layer.shares = []  # what the method's penalty would have taken

    return step
