"""Machines: every preset is whole, every slip is refused with the key and the way out."""

from pathlib import Path

import pytest

from hardware import presets
from hardware.checks import HardwareError
from tests.unit.hardware.networks import BITMAP


@pytest.mark.parametrize("name", presets.names())
def test_presets_are_whole(name: str) -> None:
    machine = presets.machine(name)
    assert machine.array.peak_macs_per_cycle == 1024
    assert machine.caption.published
    assert machine.caption.assumed


@pytest.mark.parametrize("name", presets.names())
def test_every_number_of_a_preset_has_a_source(name: str) -> None:
    sourced, section = {"[array]", "[memory]", "[widths]", "[energy]"}, ""
    for line in (presets.FOLDER / f"{name}.toml").read_text(encoding="utf-8").splitlines():
        section = line if line.startswith("[") else section
        assert section not in sourced or "=" not in line or " # " in line, line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("array.rows=0", "array: rows is 0"),
        ("array.rows=1.5", "array.rows is 1.5; it must be an integer"),
        ("array.colour=1", "no entry colour. Known here"),
        ("array.dataflow='ring'", "must be one of core, systolic_os, systolic_ws"),
        ("array.dataflow='systolic_os'", "a systolic array has 1, 0"),
        ("memory.dram_bandwidth=0", "must be above 0"),
        ("memory.dram_efficiency=1.5", r"must lie in \[0, 1\]"),
        ("memory.dram_bandwidth_per='minute'", "must be one of cycle, second"),
        ("memory.weight_sram_bytes=1", "at least 2"),
        ("widths.weight_bytes=0", "weight_bytes is 0"),
        ("energy.mac_pj=-1", "mac_pj is -1"),
        ("energy.skipped_mac_pj=9", "exceeds mac_pj"),
        ("array=1", "array is 1; it must be a table of named entries"),
        ("skipping=1", "skipping is 1; it must be a table of named entries"),
        ("name=''", "name is ''; it must be a text that is not empty"),
        ("memory.dram_bandwidth=nan", "memory.dram_bandwidth is nan; it must be a number, and finite"),
        ("energy.mac_pj=inf", "energy.mac_pj is inf; it must be a number, and finite"),
        (
            'format={kind="csr",pointer_bytes=4,index_bytes=4,x=1}',
            "unknown entries x.* are index_bytes",
        ),
        ('format={kind="csr",index_bytes=4,pointer_bytes=4,is_transposed=true}', "is_transposed is said by kind 'csr'"),
        ('skipping={kind="magic"}', "skipping.kind is 'magic'; choose from nothing, block"),
        ('skipping={kind="n_of_m",n=5,m=4,falls_back_by_lane=false,is_transposable=false}', "5:4 is no N:M pattern"),
        (
            'skipping={kind="element",barrier_tiles=1}',
            "sync_cycles is missing.* work_stealing_percent is",
        ),
        ('skipping={kind="element",barrier_tiles=1,sync_cycles=0,work_stealing_percent=101}', "must lie in 0"),
        ('format={kind="csr",index_bytes=3,pointer_bytes=4}', "index_bytes is 3; choose 1, 2, 4 or 8"),
        ("rows", "Write for example array.rows=16"),
    ],
)
def test_slips_are_refused(change: str, words: str) -> None:
    with pytest.raises(HardwareError, match=words):
        presets.machine("chip28nm", [change])


def test_a_systolic_array_cannot_skip() -> None:
    with pytest.raises(HardwareError, match="a systolic array cannot skip"):
        presets.machine("systolic32", ['skipping={kind="block",rows=1,columns=1,compacts=false,pads=false}'])


def test_an_own_machine_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((presets.FOLDER / "nm_core.toml").read_text(encoding="utf-8"), encoding="utf-8")
    assert presets.machine(str(path)) == presets.machine("nm_core")
    assert presets.machine(str(path), [BITMAP]) != presets.machine("nm_core")
    path.write_text("name = ", encoding="utf-8")
    with pytest.raises(HardwareError, match=r"Give the path of a machine's TOML file"):
        presets.machine(str(path))


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(HardwareError, match="no preset 'tpu': choose from chip28nm, element_core, nm_core, systolic32"):
        presets.machine("tpu")
