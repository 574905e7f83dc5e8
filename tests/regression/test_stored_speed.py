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


def test_the_page_and_the_readme_show_the_stored_times() -> None:
    """Found by a review: any interval could be typed into either file."""
    table = json.loads(STORED.read_text())
    text = (RESULTS / "real-speed.md").read_text().replace("\\", "")
    lines = [[entry.strip() for entry in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    head, _, *shown = lines
    columns = ("inference, batch 1 [x]", "inference, batch 64 [x]", "measured / MACs saved", "training step [x]")
    places = [head.index(name) for name in columns]
    assert len(shown) >= len(table["rows"])
    for row, line in zip(table["rows"], shown, strict=False):
        speeds = [row["inference"].get(batch) for batch in ("1", "64")]
        speeds = [*(each and each["cpu"] for each in speeds), row["measured_over_macs"]]
        speeds.append(row["training_step"] and row["training_step"]["cpu"])
        told = [f"{each['median']:.2f} ({each['low']:.2f} to {each['high']:.2f})" if each else "-" for each in speeds]
        assert [line[0], line[1], *(line[place] for place in places)] == [row["kind"], f"{row['rate']:g}", *told]
    (narrow,) = (row for row in table["rows"] if (row["kind"], row["rate"]) == ("filter", 0.25))
    (whole,) = (row for row in table["rows"] if row["kind"] == "no zeros, one call")
    step, call, base = (
        each["cpu"]["median"] for each in (narrow["training_step"], narrow["inference"]["64"], whole["inference"]["64"])
    )
    readme = " ".join((RESULTS.parent / "README.md").read_text().split())
    saved = f"{narrow['macs_reduction']:.1f} times fewer MACs, a step is {step:.1f} and inference in one call"
    assert f"at density 0.25 and {saved} {call:.1f} times faster (batch 64; {call / base:.1f} times the dense" in readme
