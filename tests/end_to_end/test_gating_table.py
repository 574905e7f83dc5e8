"""The table of gated activations, made tiny: what it writes besides its numbers."""

import dataclasses
import sys
from pathlib import Path

import pytest
from PIL import Image

from bench.__main__ import main
from bench.tables import TABLES
from bench.tables.spec import TableSpec

CELL = "simclr/dual_gate/element/t2.25"
WHOLE = TABLES["gating"]


def tiny_table(profile: str, data: str) -> TableSpec:
    """Return the smoke table with one cell, of 4 steps; others whole, as claims are checked against them."""
    if profile != "smoke":
        return WHOLE(profile, data)
    spec = WHOLE(profile, data).select(CELL)
    (run,) = spec.cells
    run = dataclasses.replace(
        run,
        data=dataclasses.replace(run.data, train_images=160, held_out_images=32),
        optimizer=dataclasses.replace(run.optimizer, epochs=1),
    )
    return dataclasses.replace(spec, cells=(run,))


def test_the_gating_table_draws_what_its_gates_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(TABLES, "gating", dataclasses.replace(WHOLE, build=tiny_table))
    monkeypatch.setattr(sys, "argv", ["bench", "table", "gating", "--data", "digits", "--out", str(tmp_path)])
    code = main()
    shown, errors = capsys.readouterr()
    assert code == 1, errors  # this size has no references, so that nothing was judged
    assert "gating, profile smoke, data digits" in shown
    assert CELL in shown
    (run,) = tmp_path.glob("runs/*/record.json")
    tables = tmp_path / "tables"
    pictures = sorted(path.relative_to(tables).as_posix() for path in tables.rglob("*") if path.is_file())
    name = "gating-smoke-digits-1-of-6"
    assert pictures == sorted(
        [f"gates/{run.parent.name}.png", *(f"{name}.{suffix}" for suffix in ("html", "json", "md", "svg"))]
    )
    assert all(str(tables / path) in errors for path in pictures)
    drawn = (tables / f"{name}.svg").read_text()
    assert "<svg" in drawn
    assert "dual_gate" in drawn
    with Image.open(tables / "gates" / f"{run.parent.name}.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
        assert len(picture.convert("L").getcolors() or []) > 10  # something is drawn
