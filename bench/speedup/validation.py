"""The model held against others' numbers: closed forms, limits, the chip's published figures, sensitivity.

Everything from densities, so that it takes seconds. ``document`` and ``pictures`` show it.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from bench.speedup.stored import path_of
from hardware import comparison, machine_file, presets
from hardware.comparison import Row
from hardware.cost.compute import compute, needed_macs
from hardware.cost.step import amdahl_limit, step
from hardware.machine import Dataflow, Machine
from hardware.network import workload
from hardware.network.layer import LayerSpec, Part
from hardware.network.workload import Workload
from hardware.sparsity.gates import GateRate
from hardware.sparsity.state import DENSE_STATE, Phase, State
from hardware.sparsity.weights import Density

SHARED, FOLLOWING = "paper-simclr", "paper-byol"  # stored workloads: shared encoder, EMA target
DENSITIES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
# A granularity -> the machine that is made for it, and whether whole filters go.
# Blocks as large as a tile can be left out as they are; smaller ones need compaction, which waits within a tile.
ALIGNED = (
    'skipping={kind="block",rows=32,columns=32,compacts=false,pads=true}',
    'format={kind="block",rows=32,columns=32}',
)
MADE_FOR: Mapping[str, tuple[str, tuple[str, ...], bool]] = {
    "element-wise": ("element_core", (), False),
    "2:4 (transposable)": ("nm_core", ("skipping.is_transposable=true",), False),
    "block 16x16": ("chip28nm", (), False),
    "block 32x32, aligned": ("chip28nm", ALIGNED, False),
    "filter": ("chip28nm", (), True),
}
BANDWIDTHS = (8.0, 64.0)  # DRAM bytes per cycle: chip28nm's own, and one at which memory seldom decides
LEAST_NOFM = 0.5  # 2:4 reaches no lower density
PUBLISHED_FLOPS, PUBLISHED_LATENCY, PUBLISHED_TFLOPS_PER_WATT = 7.3, 4.7, 16.4
WITHIN = 0.10  # ours: what counts as consistent with a published figure


@cache
def network(name: str) -> Workload:
    """Return a stored workload."""
    return workload.read(path_of(name))


def encoder(name: str = SHARED) -> tuple[LayerSpec, ...]:
    """Return its encoder's layers."""
    return tuple(layer for layer in network(name).layers if layer.part is Part.ENCODER)


def scale_sim(flow: Dataflow, m: int, n: int, k: int) -> int:
    """Return SCALE-Sim 3.0.0's reported cycles + 1 on 32 x 32 (scalesim issues 125 and 60 on the 1)."""
    if flow is Dataflow.SYSTOLIC_OS:
        return math.ceil(m / 32) * math.ceil(n / 32) * (k + 62)
    return math.ceil(k / 32) * math.ceil(n / 32) * (m + 94)


def products(layer: LayerSpec, phase: Phase) -> tuple[int, int, int]:
    """Return (M, N, K) of a phase at batch 1 as SCALE-Sim sees it, zeros inserted for strided gradients."""
    k, c = layer.out_channels, layer.in_channels
    return {
        Phase.FP: (layer.out_pixels, k, c * layer.kernel),
        Phase.BP: (0 if layer.is_first else layer.in_pixels, c, k * layer.kernel),
        Phase.WU: (k, c * layer.kernel, layer.out_pixels),
    }[phase]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Our cycles and theirs, summed over layers, and how many layers agree exactly."""

    what: str
    ours: float
    theirs: int
    equal: int
    layers: int


def agreements() -> Iterator[Agreement]:
    """Compare dense cycles of each phase and dataflow, layer by layer, batch 1, 32 x 32."""
    table = presets.load("systolic32")
    layers = encoder()
    for flow in (Dataflow.SYSTOLIC_OS, Dataflow.SYSTOLIC_WS):
        changes = [f"array.dataflow='{flow.value}'", "array.inserts_zeros=true"]
        machine = machine_file.parse(presets.changed(table, changes), "systolic32")
        for phase in Phase:
            pairs = [(_cycles(layer, phase, machine), scale_sim(flow, *products(layer, phase))) for layer in layers]
            used = [pair for pair, layer in zip(pairs, layers, strict=True) if products(layer, phase)[0]]
            yield _agreement(f"SCALE-Sim 3.0.0 + 1, {flow.value}, {phase.value}", used)
    core = presets.machine("chip28nm", ["array.fill_cycles=0"])
    zigzag = [
        (
            _cycles(layer, Phase.FP, core),
            math.ceil(layer.in_channels / 32) * math.ceil(layer.out_channels / 32) * layer.out_pixels * layer.kernel,
        )
        for layer in layers
    ]
    yield _agreement("ZigZag 3.9.1, K32 x C32, FP", zigzag)


def _agreement(what: str, pairs: list[tuple[float, int]]) -> Agreement:
    ours, theirs = (sum(values) for values in zip(*pairs, strict=True))
    return Agreement(what, ours, int(theirs), sum(our == their for our, their in pairs), len(pairs))


def _cycles(layer: LayerSpec, phase: Phase, machine: Machine) -> float:
    return compute(layer, phase, machine, 1, DENSE_STATE).cycles


def roofline(machine: Machine) -> dict[Phase, tuple[int, int, float]]:
    """Return phase -> (MACs, least cycles, our array cycles) of the encoder at batch 1."""
    layers = encoder()
    return {
        phase: (
            sum(macs := [needed_macs(layer, phase, 1, DENSE_STATE)[0] for layer in layers]),
            sum(math.ceil(value / machine.array.peak_macs_per_cycle) for value in macs),
            sum(_cycles(layer, phase, machine) for layer in layers),
        )
        for phase in Phase
    }


def limits(online: float, target: float) -> tuple[float, ...]:
    """Return Amdahl's limits of the encoder: shared and EMA target, each with WU dense and with WU skipped."""
    found = []
    for name in (SHARED, FOLLOWING):
        whole = network(name)
        for is_dense in (True, False):
            spec = dataclasses.replace(whole.step, weight_gradient_is_dense=is_dense)
            part = Workload(name="encoder", layers=encoder(name), step=spec)
            # Every layer alike, the stem too, as in the derivation.
            states = [{layer.name: State(Density(density)) for layer in part.layers} for density in (online, target)]
            found.append(amdahl_limit(part, *states))
    return tuple(found)


@cache
def speed_up_curves(name: str, bandwidth: float) -> dict[str, list[tuple[float, float]]]:
    """Return granularity -> (density, speed-up of the final step), on the machine made for it, and Amdahl's limit.

    All machines have the same memory.
    """
    whole, curves = network(name), dict[str, list[tuple[float, float]]]()
    for kind, (preset, changes, filters) in MADE_FOR.items():
        machine = presets.machine(preset, [*changes, f"memory.dram_bandwidth={bandwidth}"])
        dense = step(whole, machine, {}, {}).total.cycles
        curves[kind] = []
        for density in DENSITIES:
            if preset != "nm_core" or density >= LEAST_NOFM:
                states = comparison.uniform(whole, density, filters=filters)
                curves[kind].append((density, dense / step(whole, machine, states, states).total.cycles))
    uniform = {density: comparison.uniform(whole, density) for density in DENSITIES}
    curves["Amdahl's limit of single weights"] = [
        (density, amdahl_limit(whole, states, states)) for density, states in uniform.items()
    ]
    return curves


@dataclass(frozen=True, slots=True)
class Mixture:
    """One guess at what the chip does: block density, gates, skipped gradients, WU, gathering, DRAM bytes per cycle.

    A gate decides for 32 output channels at a pixel, as many as a tile has.
    """

    density: float
    gate_keep: float
    gradient_skip: float
    skips_weight_gradient: bool
    gathers_open_pixels: bool
    dram_bytes_per_cycle: float

    def is_of(self, machine: Machine) -> bool:
        """Return whether the machine has this mixture's memory and way with gates."""
        return (machine.dram_bytes_per_cycle, machine.array.gathers_open_pixels) == (
            self.dram_bytes_per_cycle,
            self.gathers_open_pixels,
        )

    def row(self) -> Row:
        """Return the step beside the dense one."""
        whole = network(SHARED)
        spec = dataclasses.replace(whole.step, weight_gradient_is_dense=not self.skips_weight_gradient)
        whole = dataclasses.replace(whole, step=spec)
        state = State(Density(self.density), GateRate(self.gate_keep, 0.25, 32), self.gradient_skip)
        states = {layer.name: state for layer in whole.layers if comparison.is_prunable(layer)}
        changes = (
            f"memory.dram_bandwidth={self.dram_bytes_per_cycle}",
            f"array.gathers_open_pixels={str(self.gathers_open_pixels).lower()}",
        )
        machine = presets.machine("chip28nm", changes)
        return comparison.rows(whole, machine, states, states)["step"]


GUESSES: Mapping[str, tuple[float, ...]] = {
    "density": (1.0, 0.5, 0.3, 0.2, 0.1),
    "gate_keep": (1.0, 0.5, 0.2),
    "gradient_skip": (0.0, 0.25, 0.5),
    "skips_weight_gradient": (False, True),
    "gathers_open_pixels": (False, True),
    "dram_bytes_per_cycle": (8.0, 32.0, 128.0),
}


@cache
def mixtures() -> tuple[tuple[Mixture, Row], ...]:
    """Return every combination of the guesses with its step."""
    tried = (
        Mixture(density, keep, skip, bool(skips), bool(gathers), dram)
        for density, keep, skip, skips, gathers, dram in itertools.product(*GUESSES.values())
    )
    return tuple((mixture, mixture.row()) for mixture in tried)


def near(value: float, published: float) -> bool:
    """Tell whether a figure is consistent with a published one."""
    return abs(value / published - 1.0) <= WITHIN


ENERGIES: Mapping[str, tuple[float, ...]] = {
    "mac_pj": (0.04, 0.1, 0.3),
    "sram_pj_per_byte": (0.19, 0.76, 1.43),
    "dram_pj_per_byte": (0.0, 87.5, 160.0, 250.0),
}


def efficiencies(density: float) -> Iterator[tuple[dict[str, float], float, float]]:
    """Yield (energy table, TFLOPS/W with skipped work counted, without) of a step; a MAC is two operations."""
    whole = network(SHARED)
    states = comparison.uniform(whole, density)
    for values in itertools.product(*ENERGIES.values()):
        entries = dict(zip(ENERGIES, values, strict=True))
        machine = presets.machine("chip28nm", [f"energy.{key}={value}" for key, value in entries.items()])
        cost = step(whole, machine, states, states).total
        yield entries, 2 * cost.macs / cost.joules / 1e12, 2 * cost.effective_macs / cost.joules / 1e12


# What is varied around chip28nm, one at a time: label -> (changes below, changes above).
AROUND: Mapping[str, tuple[str, str]] = {
    "DRAM bytes per cycle: 4, 16": ("memory.dram_bandwidth=4.0", "memory.dram_bandwidth=16.0"),
    "DRAM bytes per cycle: 2, 64": ("memory.dram_bandwidth=2.0", "memory.dram_bandwidth=64.0"),
    "array rows: 16, 64": ("array.rows=16", "array.rows=64"),
    "array columns: 16, 64": ("array.columns=16", "array.columns=64"),
    "pixels in parallel: 1, 4": ("array.pixels=1", "array.pixels=4"),
    "all buffers: 32 kB, 128 kB": (
        "memory={weight_sram_bytes=32768,activation_sram_bytes=32768,output_sram_bytes=32768}",
        "memory={weight_sram_bytes=131072,activation_sram_bytes=131072,output_sram_bytes=131072}",
    ),
    "block: 8 x 8, 32 x 32": (
        "skipping={rows=8,columns=8}\nformat={rows=8,columns=8}",
        "skipping={rows=32,columns=32}\nformat={rows=32,columns=32}",
    ),
    "compaction: off, on": ("skipping.compacts=false", "skipping.compacts=true"),
    "WU skipped: no, yes": ("array.skips_weight_gradient=false", "array.skips_weight_gradient=true"),
    "normalisation charged: yes, no": ("memory.charges_batch_norm=true", "memory.charges_batch_norm=false"),
    "vector lanes: 16, 64": ("array.vector_lanes=16", "array.vector_lanes=64"),
    "layers overlap: no, yes": ("memory.overlaps_layers=false", "memory.overlaps_layers=true"),
    "metadata bytes per cycle: 1, 128": (
        "memory.metadata_bytes_per_cycle=1.0",
        "memory.metadata_bytes_per_cycle=128.0",
    ),
}
CENTRE = 0.2  # density


def sensitivity() -> tuple[float, dict[str, tuple[float, float]]]:
    """Return the speed-up of chip28nm at density 0.2, and what it is with one entry changed; widest first."""
    found = {label: (_speed_up(below), _speed_up(above)) for label, (below, above) in AROUND.items()}
    order = sorted(found, key=lambda label: abs(found[label][1] - found[label][0]), reverse=True)
    return _speed_up(), {label: found[label] for label in order}


def _speed_up(*changes: str) -> float:
    whole, machine = network(SHARED), presets.machine("chip28nm", changes)
    states = comparison.uniform(whole, CENTRE)
    return comparison.rows(whole, machine, states, states)["step"].speed_up
