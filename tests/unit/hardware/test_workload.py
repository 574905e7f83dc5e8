"""Traced networks: read back what was written, refuse what was not meant."""

import json
from pathlib import Path
from typing import Any

import pytest

from hardware.checks import HardwareError
from hardware.network import workload
from hardware.network.workload import Workload
from tests.unit.hardware.networks import BYOL, network


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text(network(BYOL).text, encoding="utf-8")
    assert workload.read(path) == network(BYOL)
    assert workload.read(path).digest == network(BYOL).digest


def test_the_digest_is_pinned() -> None:
    """It names artefacts: a change of the format changes it, and must be meant."""
    assert network().digest == "871e52710e7603639df1174b70d797e896f58dea66cd3da3f991bbfd1b809a15"


def test_every_field_moves_the_digest() -> None:
    table = json.loads(network().text)
    digests = {network().digest}
    for key, value in table["step"].items():
        changed = json.loads(network().text)
        changed["step"][key] = (not value) if isinstance(value, bool) else value + 1
        if key == "target_is_ema":
            changed["step"]["target_passes"] = 1
        if key == "regrowth_needs_dense_gradient":
            changed["step"]["mask_update_period_steps"] = 1
        digests.add(workload.parse(changed, "net").digest)
    assert len(digests) == 1 + len(table["step"])


def broken(**changes: Any) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(network().text)
    for path, value in changes.items():
        *outer, last = path.split("__")
        place: Any = table
        for key in outer:
            place = place[int(key) if key.isdigit() else key]
        place[last] = value
    return table


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (broken(colour=1), "unknown entries colour"),
        (broken(format=2), "format is 2"),
        (broken(layers=[]), "no layers"),
        (broken(layers={}), "must be an array of tables"),
        (broken(layers__0__stride=0), "stride is 0"),
        (broken(layers__0__stride=1.0), "must be an integer"),
        (broken(layers__0__stride=True), "must be an integer"),
        (broken(layers__0__is_first=1), "must be true or false"),
        (broken(layers__0__part="body"), "must be one of encoder, projector, predictor"),
        (broken(layers__0__name=""), "not empty"),
        (broken(layers__0__groups=2), "do not divide"),
        (broken(layers__0__kernel_height=40), "larger than the padded map"),
        (broken(layers__1__name="conv1"), "two layers are called conv1"),
        (broken(layers__2__reads="conv9"), "no earlier layer"),
        (broken(layers__1__reads="layer2.0.conv1"), "no earlier layer"),
        (broken(step__batch=0), "batch is 0"),
        (broken(step__target_is_ema=True), "target_is_ema without"),
        (broken(step__regrowth_needs_dense_gradient=True), "without mask_update_period_steps"),
        (broken(step=None), "must be a table"),
    ],
)
def test_slips_are_refused(table: dict[str, Any], words: str) -> None:
    with pytest.raises(HardwareError, match=words):
        workload.parse(table, "net")


def test_a_missing_entry_is_named() -> None:
    table = broken()
    del table["step"]["loss_macs"]
    with pytest.raises(HardwareError, match=r"net: step\.loss_macs is missing\. Add it"):
        workload.parse(table, "net")


def test_an_entry_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text('{"name": "a", "name": "b"}', encoding="utf-8")
    with pytest.raises(HardwareError, match="name is given twice"):
        workload.read(path)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text("{", encoding="utf-8")
    for name in ("net.json", "absent.json"):
        with pytest.raises(HardwareError, match="Give the path"):
            workload.read(tmp_path / name)


def test_an_unknown_layer_is_refused() -> None:
    net: Workload = network()
    with pytest.raises(HardwareError, match="has no layer 'conv9'"):
        net.layer("conv9")
