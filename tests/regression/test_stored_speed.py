"""The stored table of real speed is what the command writes; it names the machine and the code that made it."""

import json
import re
from pathlib import Path

import pytest

from bench.speedup import real_speed, real_speed_page, zeros

RESULTS = Path(__file__).resolve().parents[2] / "results"
STORED = RESULTS / "real-speed.json"


@pytest.mark.skipif(not STORED.exists(), reason="not stored yet: nox -s real_speed_table, copied from out/tables/")
def test_the_stored_table_is_whole_and_names_its_machine_and_code() -> None:
    table = json.loads(STORED.read_text())
    assert table["schema"] == real_speed_page.SCHEMA
    machine, processor, instructions, onednn, *_ = table["machine"].split("/")
    assert all((machine, processor, instructions, onednn.startswith("onednn-")))
    assert table["rounds"] >= 6, "intervals need as many"
    found: dict[str, list[float]] = {}
    for row in table["rows"]:
        found.setdefault(row["kind"], []).append(row["rate"])
        speeds = [*row["inference"].values(), *filter(None, [row["training_step"]])]
        for speed in speeds:
            assert 0 < speed["cpu"]["low"] <= speed["cpu"]["median"] <= speed["cpu"]["high"]
        assert set(row["inference"]) in ({str(count) for count in real_speed.BATCHES}, set())
        assert row["macs_reduction"] >= 1
        assert row["inference_how"]
    assert [found[kind] for kind in ("element", "block 16x16", "filter")] == [list(zeros.DENSITIES)] * 3
    assert [found[kind] for kind in ("gates per pixel and slice", "spatial gates")] == [list(zeros.RATES)] * 2
    assert [kind for kind in found if re.fullmatch(r"\d+:\d+", kind)] == [f"{n}:{m}" for n, m in zeros.PATTERNS]
    text = (RESULTS / "real-speed.md").read_text().replace("\\", "")
    assert f"- here: {table['machine']}\n" in text
    assert re.fullmatch(r"[0-9a-f]{40}", table["code"]), "stored numbers come from committed code"
    peers = ", ".join(table["peers"]) or "none"
    assert f"- measured on {table['date']} by the code of commit {table['code']}; peers: {peers}\n" in text
    assert all(f"| {row['kind']} | {row['rate']:g} | {row['macs_reduction']:.2f} |" in text for row in table["rows"])
    assert all(f"- {note}\n" in text for note in real_speed_page.NOTES)
