"""The machine: one frozen value, read from one TOML file.

What is published about the chips that inspired the presets and what is our assumption stands in each file's
``[caption]`` and is printed under every table.
"""

import enum
from dataclasses import dataclass
from functools import cached_property

from hardware.checks import HardwareError, at_least, fraction
from hardware.skipping.base import Nothing, Skipping, Tile
from hardware.storage.formats import Format


class Dataflow(enum.Enum):
    """Multiply-add trees, or a systolic array with resident outputs or weights."""

    CORE = "core"
    SYSTOLIC_OS = "systolic_os"
    SYSTOLIC_WS = "systolic_ws"


class Per(enum.Enum):
    """Whether a bandwidth follows the clock of the array or has its own."""

    CYCLE = "cycle"
    SECOND = "second"


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """The multipliers.

    Attributes:
        dataflow: see ``Dataflow``.
        rows: outputs computed in parallel (P_k); rows of a systolic array.
        columns: length of a dot product (P_c); columns of a systolic array.
        pixels: pixels in parallel (P_p); 1 for a systolic array.
        cores: so many arrays share a layer: the pixels, or the tiles of a systolic array.
        fill_cycles: pipeline depth (L), lost once per layer and phase; 0 for a systolic array, whose closed form
            holds its own.
        frequency_hz: clock.
        vector_lanes: elements per cycle that the vector unit handles: normalisation, optimizer, moving average.
        gate_groups: tiles of outputs that wait for each other's gates (G).
        gathers_open_pixels: pixels with open gates close ranks, so that a pass waits for the gates of no other pixel.
        flattens_stem: the layer that reads the image sums over kernel positions and channels at once.
        inserts_zeros: strided input gradients multiply the zeros inserted between errors, as plain systolic
            tools do; otherwise they are decomposed by phase and exact.
        removes_filters: channels without any weight disappear from the layer. Not from grouped convolutions.
        skips_gates: closed gates save time.
        skips_forward: zeros are skipped in FP.
        skips_input_gradient: zeros are skipped in BP.
        skips_weight_gradient: gradients off the mask are skipped in WU.
    """

    dataflow: Dataflow
    rows: int
    columns: int
    pixels: int
    cores: int
    fill_cycles: int
    frequency_hz: float
    vector_lanes: int
    gate_groups: int
    gathers_open_pixels: bool
    flattens_stem: bool
    inserts_zeros: bool
    removes_filters: bool
    skips_gates: bool
    skips_forward: bool
    skips_input_gradient: bool
    skips_weight_gradient: bool

    def __post_init__(self) -> None:
        at_least(
            1,
            rows=self.rows,
            columns=self.columns,
            pixels=self.pixels,
            cores=self.cores,
            frequency_hz=self.frequency_hz,
            vector_lanes=self.vector_lanes,
            gate_groups=self.gate_groups,
        )
        at_least(0, fill_cycles=self.fill_cycles)
        if self.is_systolic and (self.pixels != 1 or self.fill_cycles or self.flattens_stem or self.skips_gates):
            raise HardwareError(
                f"dataflow {self.dataflow.value} with pixels {self.pixels}, fill_cycles {self.fill_cycles}, "
                f"flattens_stem {self.flattens_stem}, skips_gates {self.skips_gates}: a systolic array has 1, 0, "
                "false (its sums are flat anyway) and false. Set these, or choose dataflow = 'core'."
            )

    @property
    def is_systolic(self) -> bool:
        """Whether data marches through the array."""
        return self.dataflow is not Dataflow.CORE

    @property
    def peak_macs_per_cycle(self) -> int:
        """Multipliers."""
        return self.rows * self.columns * self.pixels * self.cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Buffers, each in two halves so that one is filled while the other is used, and the DRAM behind them.

    Attributes:
        weight_sram_bytes: buffer of weights; in WU, of errors.
        activation_sram_bytes: buffer of activations; in BP, of errors.
        output_sram_bytes: buffer of accumulators.
        sram_bytes_per_cycle: of all buffers together.
        dram_bandwidth: bytes per ...
        dram_bandwidth_per: ... cycle or second.
        dram_efficiency: fraction of the bandwidth that is reached.
        dram_burst_bytes: every operand's traffic is rounded up to whole bursts.
        metadata_bytes_per_cycle: positions of non-zeros are decoded no faster.
        transposes_freely: the layout serves BP's transposed reads; otherwise a transposition is charged.
        overlaps_layers: first loads and last stores hide behind the neighbouring layers.
        charges_batch_norm: normalisation passes twice over the outputs in FP and in BP.
    """

    weight_sram_bytes: int
    activation_sram_bytes: int
    output_sram_bytes: int
    sram_bytes_per_cycle: float
    dram_bandwidth: float
    dram_bandwidth_per: Per
    dram_efficiency: float
    dram_burst_bytes: int
    metadata_bytes_per_cycle: float
    transposes_freely: bool
    overlaps_layers: bool
    charges_batch_norm: bool

    def __post_init__(self) -> None:
        at_least(
            2,  # two halves
            weight_sram_bytes=self.weight_sram_bytes,
            activation_sram_bytes=self.activation_sram_bytes,
            output_sram_bytes=self.output_sram_bytes,
        )
        at_least(1, dram_burst_bytes=self.dram_burst_bytes)
        fraction(dram_efficiency=self.dram_efficiency)
        for name in ("sram_bytes_per_cycle", "dram_bandwidth", "dram_efficiency", "metadata_bytes_per_cycle"):
            if not getattr(self, name) > 0:
                raise HardwareError(f"{name} is {getattr(self, name)}; it must be above 0.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Bytes of one number, by what it is."""

    weight_bytes: int
    activation_bytes: int
    error_bytes: int
    gradient_bytes: int
    accumulator_bytes: int
    master_bytes: int
    state_bytes: int

    def __post_init__(self) -> None:
        at_least(
            1,
            weight_bytes=self.weight_bytes,
            activation_bytes=self.activation_bytes,
            error_bytes=self.error_bytes,
            gradient_bytes=self.gradient_bytes,
            accumulator_bytes=self.accumulator_bytes,
            master_bytes=self.master_bytes,
            state_bytes=self.state_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyTable:
    """Picojoules per event, and watts that leak.

    Attributes:
        mac_pj: one multiply-accumulate.
        skipped_mac_pj: one that was skipped: 0 if nothing moves, more if the multiplier is only gated.
        sram_pj_per_byte: buffers.
        dram_pj_per_byte: DRAM.
        leakage_watts: at all times.
    """

    mac_pj: float
    skipped_mac_pj: float
    sram_pj_per_byte: float
    dram_pj_per_byte: float
    leakage_watts: float

    def __post_init__(self) -> None:
        at_least(
            0,
            mac_pj=self.mac_pj,
            skipped_mac_pj=self.skipped_mac_pj,
            sram_pj_per_byte=self.sram_pj_per_byte,
            dram_pj_per_byte=self.dram_pj_per_byte,
            leakage_watts=self.leakage_watts,
        )
        if self.skipped_mac_pj > self.mac_pj:
            raise HardwareError(f"skipped_mac_pj {self.skipped_mac_pj} exceeds mac_pj {self.mac_pj}. Lower it.")


@dataclass(frozen=True, slots=True)
class Caption:
    """What stands under every table beside the machine's values: facts with their source, and what else is ours."""

    published: str
    assumed: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A training accelerator."""

    name: str
    array: Array
    memory: Memory
    widths: Widths
    skipping: Skipping
    format: Format
    energy: EnergyTable
    caption: Caption

    def __post_init__(self) -> None:
        if self.array.is_systolic and self.skipping != Nothing():
            raise HardwareError(
                f"{self.name}: skipping {self.skipping} with dataflow {self.array.dataflow.value}: a systolic array "
                "cannot skip. Set skipping.kind = 'nothing' (array.removes_filters still works), or dataflow = 'core'."
            )

    @property
    def tile(self) -> Tile:
        """What one pass of FP and BP covers."""
        return Tile(self.array.rows, self.array.columns)

    @property
    def output_tile(self) -> Tile:
        """What one pass of WU covers, on the grid (inputs, outputs)."""
        return Tile(self.array.pixels, self.array.rows)

    @cached_property
    def dram_bytes_per_cycle(self) -> float:
        """Bytes that really come per cycle of the array."""
        scale = {Per.CYCLE: 1.0, Per.SECOND: 1.0 / self.array.frequency_hz}[self.memory.dram_bandwidth_per]
        return self.memory.dram_bandwidth * self.memory.dram_efficiency * scale
