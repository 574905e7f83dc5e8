"""Captions speak of the machine at hand: numbers are its own, published figures only a preset's."""

import pytest

from hardware import presets
from hardware.caption import assumed, caption, is_preset, published


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_is_one_until_anything_is_changed(name: str) -> None:
    assert is_preset(presets.machine(name))
    assert published(presets.machine(name)) == presets.machine(name).caption.published
    assert not is_preset(presets.machine(name, ["memory.dram_bandwidth=9.0"]))


def test_published_figures_are_those_of_the_unchanged_preset_alone() -> None:
    assert "7.3x" in caption(presets.machine("chip28nm"))
    changed = caption(presets.machine("chip28nm", ["array.rows=64"]), ["array.rows=64"])
    assert "7.3x" not in changed
    assert "nothing about this machine" in changed


def test_assumptions_are_generated_from_the_values() -> None:
    plain = assumed(presets.machine("chip28nm"))
    for said in (
        "32 x 32 x 1 multipliers",
        "one core",
        "400 MHz",
        "SRAM 3 x 64 kB",
        "DRAM 8 B per cycle",
        "16 x 16 weights",
    ):
        assert said in plain
    changes = ["array.rows=64", "array.cores=2", "memory.weight_sram_bytes=32768", "array.gathers_open_pixels=true"]
    other = assumed(presets.machine("chip28nm", changes))
    for said in ("64 x 32 x 1 multipliers", "2 cores", "SRAM 32 + 64 + 64 kB", "gathered open pixels"):
        assert said in other
