"""What must stand under every table: what is published, and what we assumed, from the machine's own values."""

from collections.abc import Sequence

from hardware import presets
from hardware.machine import Machine


def published(machine: Machine) -> str:
    """Return what is published about a preset; nothing is known of a machine that differs from all of them."""
    if is_preset(machine):
        return machine.caption.published
    return "nothing about this machine: it is no preset as it comes with the program"


def assumed(machine: Machine) -> str:
    """Return what is ours, number by number."""
    array, memory = machine.array, machine.memory
    sram = [memory.weight_sram_bytes, memory.activation_sram_bytes, memory.output_sram_bytes]
    kilobytes = [f"{size / 1024:g}" for size in sram]
    buffers = f"3 x {kilobytes[0]}" if len(set(kilobytes)) == 1 else " + ".join(kilobytes)
    gates = (
        "gathered open pixels" if array.gathers_open_pixels else "passes that wait for the gates of all their pixels"
    )
    return ", ".join(
        (
            f"{array.rows} x {array.columns} x {array.pixels} multipliers",
            "one core" if array.cores == 1 else f"{array.cores} cores",
            f"{array.frequency_hz / 1e6:g} MHz",
            f"SRAM {buffers} kB",
            f"DRAM {memory.dram_bandwidth:g} B per {memory.dram_bandwidth_per.value}",
            f"{machine.widths.weight_bytes} B a weight",
            f"skipping {machine.skipping}",
            *([gates] if array.skips_gates else []),
            machine.caption.assumed,
        )
    )


def is_preset(machine: Machine) -> bool:
    """Return whether the machine is a preset, unchanged."""
    return machine in (presets.machine(name) for name in presets.names())


def caption(machine: Machine, changes: Sequence[str] = ()) -> str:
    """Return the lines for below a table; ``changes`` were made to the machine."""
    changed = f"Changed: {', '.join(changes)}.\n" if changes else ""
    return changed + (
        f"Machine: {machine.name}.\nPublished: {published(machine)}.\nAssumed (ours): {assumed(machine)}.\n"
        "Not modelled: activation functions, pooling, residual sums, biases, sorting in a mask update, zeros of "
        "activations and errors, bitmaps of gates and ReLU.\nA removed filter takes its consumer's inputs along."
    )
