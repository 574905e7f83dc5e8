"""Energy of a phase: events times their cost, and what leaks (README.md, section 5)."""

from hardware.machine import EnergyTable

PICO = 1e-12


def joules(
    table: EnergyTable,
    *,
    executed_macs: float,
    skipped_macs: float,
    sram_bytes: float,
    dram_bytes: float,
    seconds: float,
) -> float:
    """Return the energy in joules. Linear in every argument; nothing happens, nothing leaks: 0."""
    events = (
        executed_macs * table.mac_pj
        + skipped_macs * table.skipped_mac_pj
        + sram_bytes * table.sram_pj_per_byte
        + dram_bytes * table.dram_pj_per_byte
    )
    return events * PICO + table.leakage_watts * seconds
