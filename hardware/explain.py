"""One layer and phase, written out so that it can be checked with a pencil; and tables as text."""

from collections.abc import Mapping, Sequence

from hardware.checks import HardwareError
from hardware.comparison import Row
from hardware.cost import memory
from hardware.cost.compute import compute, living_part, needed_macs
from hardware.cost.dense import gemm_cycles, gemms
from hardware.cost.energy import PICO
from hardware.machine import Machine
from hardware.network.layer import LayerSpec
from hardware.sparsity.state import Phase, State

# What the closed form of each phase multiplies: (along rows, along columns, pixels summed or in parallel).
FORMS = {
    Phase.FP: "ceil(C/columns) x ceil(K/rows) x R S passes, each for ceil(N Ho Wo / (pixels x cores))",
    Phase.BP: "ceil(K/columns) x ceil(C/rows) x R S passes, each for ceil(N Ho Wo / (pixels x cores))",
    Phase.WU: "ceil(K/rows) x ceil(C/pixels) x R S passes, each for ceil(N Ho Wo / (columns x cores))",
}


def explain(layer: LayerSpec, phase: Phase, machine: Machine, images: int, state: State) -> list[str]:
    """Return the calculation line by line, as the model performs it.

    Raises:
        HardwareError: if nothing is computed in this phase, or the state does not fit.
    """
    macs, needed = needed_macs(layer, phase, images, state)
    living = living_part(layer, machine.array, state)
    if not macs or living is None:
        raise HardwareError(
            f"{layer.name} computes nothing in {phase.value}: it reads the image, or no weight is left."
        )
    part, state = living
    array = machine.array
    cost, moved = (
        compute(part, phase, machine, images, state),
        memory.traffic(part, phase, machine, images, state, is_kept=True),
    )
    timed = memory.timing(machine, cost, moved)
    shape = f"K = {part.out_channels}, C = {part.in_channels}, R S = {part.kernel}, groups = {part.groups}"
    return [
        f"{layer.name}, {phase.value}, on {machine.name}",
        f"shape: {shape}, N = {images}, H W = {part.in_pixels}, Ho Wo = {part.out_pixels}",
        f"MACs: {macs:,} dense, {needed:,.1f} needed, {cost.executed_macs:,.1f} executed",
        f"array: {array.rows} rows x {array.columns} columns x {array.pixels} pixels x {array.cores} cores",
        *(_systolic(part, phase, machine, images) if array.is_systolic else _core(phase, machine, cost.work.passes)),
        f"shares: trained images {state.trained_share(phase):g}, work that gates need {state.gate.needed_share():g}",
        f"array cycles: {_systolic_or_core(machine, cost.repeats)}{cost.cycles:,.1f}",
        (
            f"DRAM bytes ({moved.order.value}): left {moved.left:,} + right {moved.right:,} + out {moved.out:,} "
            f"+ transposition {moved.extra:,} = {moved.total:,}"
        ),
        (
            f"DRAM cycles: {moved.total:,} / {machine.dram_bytes_per_cycle:g} = "
            f"{moved.total / machine.dram_bytes_per_cycle:,.1f}"
        ),
        *_slowest(machine, cost.cycles, moved, timed),
        f"cycles with memory: {timed.cycles:,.1f}, of which stalls {timed.stall_cycles:,.1f}",
        (
            f"utilisation: {needed:,.1f} / ({cost.cycles:,.1f} x {array.peak_macs_per_cycle}) = "
            f"{needed / (cost.cycles * array.peak_macs_per_cycle):.4f}"
        ),
        _energy(machine, macs, cost.executed_macs, moved, timed),
    ]


def _energy(machine: Machine, macs: float, executed: float, moved: memory.Traffic, timed: memory.Timing) -> str:
    """Return what ``energy.joules`` adds up, event by event."""
    prices = machine.energy
    events = {
        "executed MACs": (executed, prices.mac_pj),
        "skipped MACs": (max(0.0, macs - executed), prices.skipped_mac_pj),
        "bytes of buffers": (timed.sram_bytes, prices.sram_pj_per_byte),
        "bytes of DRAM": (moved.total, prices.dram_pj_per_byte),
    }
    seconds = timed.cycles / machine.array.frequency_hz
    terms = [f"{count:,.1f} {name} x {price:g} pJ" for name, (count, price) in events.items()]
    total = sum(count * price for count, price in events.values()) * PICO + prices.leakage_watts * seconds
    return f"energy: {' + '.join(terms)} + {seconds:.3g} s x {prices.leakage_watts:g} W = {1e3 * total:,.6f} mJ"


def _core(phase: Phase, machine: Machine, passes: float) -> list[str]:
    return [
        f"dense form: {FORMS[phase]}, + fill {machine.array.fill_cycles}",
        f"skipping: {machine.skipping}",
        f"passes left: {passes:,.2f}",
    ]


def _slowest(machine: Machine, array_cycles: float, moved: memory.Traffic, timed: memory.Timing) -> list[str]:
    """Return the terms of the time: what begins and ends it, and the slowest of what goes on between."""
    rate, slow = machine.dram_bytes_per_cycle, machine.memory
    between = {
        "array": array_cycles,
        "DRAM": (moved.total - timed.first_bytes - timed.last_bytes) / rate,
        "buffers": timed.sram_bytes / slow.sram_bytes_per_cycle,
        "metadata": moved.metadata / slow.metadata_bytes_per_cycle,
    }
    return [
        (
            f"first load {timed.first_bytes:,} B, last store {timed.last_bytes:,} B: "
            f"{(timed.first_bytes + timed.last_bytes) / rate:,.1f} cycles"
        ),
        (
            f"between: {', '.join(f'{name} {cycles:,.1f}' for name, cycles in between.items())}; "
            f"the slowest counts: {max(between, key=lambda name: between[name])}"
        ),
    ]


def _systolic(layer: LayerSpec, phase: Phase, machine: Machine, images: int) -> list[str]:
    return [
        f"product M = {gemm.m:,}, N = {gemm.n:,}, K = {gemm.k:,}: {gemm_cycles(machine.array, gemm):,} cycles"
        for gemm in gemms(layer, phase, images, inserts_zeros=machine.array.inserts_zeros)
    ]


def _systolic_or_core(machine: Machine, repeats: int) -> str:
    if machine.array.is_systolic:
        return "sum of the products = "
    return f"passes x {repeats:,} x open gates and trained images + fill = "


HEADINGS = (
    ("part", ""),
    ("dense [cycles]", "{0.dense.cycles:,.0f}"),
    ("sparse [cycles]", "{0.sparse.cycles:,.0f}"),
    ("speed-up [x]", "{0.speed_up:.3f}"),
    ("MACs reduction [x]", "{0.macs_reduction:.3f}"),
    ("conversion [ratio]", "{0.conversion:.3f}"),
    ("stalls [% of cycles]", "{1:.1f}"),
    ("DRAM [MB]", "{2:,.2f}"),
    ("energy [mJ]", "{3:,.3f}"),
)


def table(rows: Mapping[str, Row]) -> str:
    """Return rows of parts as an aligned text table, units in the headings."""
    lines = [[heading for heading, _ in HEADINGS]]
    for name, row in rows.items():
        values = (row, 100 * row.stall_share, row.sparse.dram_bytes / 1e6, row.sparse.joules * 1e3)
        lines.append([name, *(form.format(*values) for _, form in HEADINGS[1:])])
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return cells as text: the first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(cells))
        for cells in (list(zip(line, widths, strict=True)) for line in lines)
    )


def totals(row: Row, machine: Machine) -> str:
    """Return time, power and efficiency of the dense and the sparse form, and what a ratio in the table means."""
    lines = []
    for name, cost in (("Dense", row.dense), ("Sparse", row.sparse)):
        seconds = cost.cycles / machine.array.frequency_hz
        watts = cost.joules / seconds if seconds else 0.0
        operations = 2.0 * cost.effective_macs  # a multiplication and an addition
        tera = operations / cost.joules / 1e12 if cost.joules else 0.0
        lines.append(f"{name}: {1e3 * seconds:,.3f} ms, {watts:,.3f} W, {tera:,.2f} TFLOPS/W of needed operations.")
    lines.append("Conversion: speed-up over MACs reduction, the part of the saved work that became saved time.")
    return "\n".join(lines)
