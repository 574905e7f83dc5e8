"""Where no run exists: masks drawn at random at a density, of each granularity, on the networks of the paper profile.

Real masks are no random ones: magnitudes cluster in filters. Rows say where their masks come from.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.config.sparsity import SparsitySpec
from bench.runs import estimate
from bench.speedup.stored import named, path_of
from bench.speedup.timeline import POINTS, Course, Moment, States, course_of
from hardware.comparison import is_prunable
from hardware.network import workload
from hardware.network.layer import LayerSpec
from hardware.network.ramp import CubicRamp
from hardware.network.workload import Workload
from hardware.sparsity.gates import GateRate
from hardware.sparsity.state import State
from hardware.sparsity.weights import Mask

SEED = 0
FORMS = ("paper-simclr", "paper-byol")  # shared encoder, EMA target
INITIAL = 0.70  # density at the start of the ramp: the authors' only sparse script (hardware/README.md, section 9)
TRAIN_IMAGES = 50_000  # of CIFAR-10: with batch and epochs, they say how many steps lie between two mask updates
BASE = 0.25  # assumption (ours): the share of input channels that gates never close
GATE_CHANNELS = 32  # assumption (ours; hardware/README.md, section 4): output channels that share a gate at each pixel

Bools = NDArray[np.bool_]
Drawer = Callable[[np.random.Generator, LayerSpec, float], Bools]


def element(generator: np.random.Generator, layer: LayerSpec, density: float) -> Bools:
    """Keep each weight with that probability."""
    return generator.random(layer.weight_shape, dtype=np.float32) < density


def block(generator: np.random.Generator, layer: LayerSpec, density: float) -> Bools:
    """Keep blocks of 16 x 16 (output, input) channels at a kernel position."""
    outputs, inputs, height, width = layer.weight_shape
    kept = generator.random((-(-outputs // 16), -(-inputs // 16), height, width), dtype=np.float32) < density
    return kept.repeat(16, axis=0)[:outputs].repeat(16, axis=1)[:, :inputs]


def filters(generator: np.random.Generator, layer: LayerSpec, density: float) -> Bools:
    """Keep whole output channels, exactly so many, half rounded up."""
    kept = np.zeros(layer.out_channels, np.bool_)
    kept[generator.permutation(layer.out_channels)[: int(density * layer.out_channels + 0.5)]] = True
    return np.broadcast_to(kept[:, None, None, None], layer.weight_shape).copy()


def two_of_four(generator: np.random.Generator, layer: LayerSpec, density: float) -> Bools:
    """Keep two of four neighbouring input channels, and so many groups whole that the density is reached."""
    outputs, inputs, height, width = layer.weight_shape
    grid = (outputs, inputs // 4, height, width)
    patterns = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1]], np.bool_)
    kept = patterns[generator.integers(0, len(patterns), grid)]
    kept |= (generator.random(grid, dtype=np.float32) < 2.0 * density - 1.0)[..., None]
    return kept.transpose(0, 1, 4, 2, 3).reshape(layer.weight_shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A granularity at a final density. ``initial`` is that of the ramp's start; equal to ``final``: no ramp."""

    name: str
    draw: Drawer
    final: float
    initial: float = INITIAL


KINDS = (
    Kind(name="element d0.50", draw=element, final=0.50),
    Kind(name="element d0.10", draw=element, final=0.10),
    Kind(name="2:4 strict d0.50", draw=two_of_four, final=0.50, initial=0.50),
    # The authors' code ends with 1 % of dense groups (hardware/README.md, section 9).
    Kind(name="2:4 as annealed d0.50", draw=two_of_four, final=0.505),
    Kind(name="block 16x16 d0.50", draw=block, final=0.50),
    Kind(name="block 16x16 d0.10", draw=block, final=0.10),
    Kind(name="filter d0.50", draw=filters, final=0.50),
    Kind(name="filter d0.10", draw=filters, final=0.10),
)
GATED = 0.50  # share of the work that the gated row needs, base included


def courses() -> Iterator[Course]:
    """Yield the rows: dense, each kind, gated; each for both forms of the second branch."""
    networks = [workload.read(path_of(name)) for name in FORMS]
    for network in networks:
        yield _constant("dense", "nothing is sparse", network, {})
    for kind in KINDS:
        moments = _moments(kind, networks[0])  # both forms have one encoder, so one draw serves them
        for network in networks:
            yield _course(kind, network, moments)
    keep = (GATED - BASE) / (1.0 - BASE)
    for network in networks:
        gate = State(gate=GateRate(keep, BASE, GATE_CHANNELS))
        states = {layer.name: gate for layer in network.layers if is_prunable(layer)}
        source = f"gate rate {keep:.2f}, base {BASE:.2f}, a gate per {GATE_CHANNELS} channels and pixel, independent"
        yield _constant(f"gated t{GATED:.2f}", source, network, states)


def masks(kind: Kind, network: Workload, density: float, point: int) -> States:
    """Return random masks of all prunable layers; layers of one shape share theirs, as they cost the same."""
    drawn: dict[int, State] = {}
    states = {}
    for alike, layer in zip(network.alike, network.layers, strict=True):
        if is_prunable(layer):
            if alike not in drawn:
                generator = np.random.default_rng((SEED, alike, point))
                drawn[alike] = State(Mask(kind.draw(generator, layer, density)))
            states[layer.name] = drawn[alike]
    return states


def _moments(kind: Kind, network: Workload) -> list[States]:
    """Return the masks at each point of the schedule."""
    if kind.initial == kind.final:
        return [masks(kind, network, kind.final, 0)] * POINTS
    ramp = CubicRamp(kind.initial, kind.final, 0.0, 1.0)
    return [masks(kind, network, ramp.density(point / (POINTS - 1)), point) for point in range(POINTS)]


def _course(kind: Kind, network: Workload, states: list[States]) -> Course:
    spec = SparsitySpec(method="gradual")
    points = [Moment(0.0, each, each) for each in states]
    is_static = kind.initial == kind.final
    period = round(spec.period_fraction * estimate.steps(named(network.name), TRAIN_IMAGES))
    before = points[0] if is_static else Moment(0.0, {}, {})
    return Course(
        kind=kind.name,
        source=f"drawn at density {kind.final:g}, seed {SEED}" + ("" if is_static else f", ramp from {kind.initial:g}"),
        workload=network,
        regrows=False,  # gradual pruning alone
        final=points[-1],
        moments=course_of(
            before, points, points[-1], spec.start_fraction, spec.end_fraction, (0, 0 if is_static else period, 0)
        ),
    )


def _constant(kind: str, source: str, network: Workload, states: States) -> Course:
    moment = Moment(1.0, states, states)
    return Course(kind=kind, source=source, workload=network, regrows=False, final=moment, moments=(moment,))
