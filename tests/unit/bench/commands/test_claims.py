"""``claims``, and ``--claim`` of the commands that run: nothing is trained."""

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.commands.claimed import claimed
from bench.errors import UsageError
from bench.judging import references
from bench.judging.book import compared
from bench.judging.claims import load_claims
from bench.runs.folder import RunFolder
from bench.runs.record import Record
from bench.speedup import expected
from bench.tables import TABLES
from tests.made_up_tables import made_up_record

Answer = Callable[..., str]
SEEDS = (100, 101, 102, 103)
MAIN, SECOND, *_ = load_claims("structured").claims
SPEC = TABLES["structured"]("cpu", "cifar10")
NOISE = {100: 0.3, 101: -0.3, 102: 0.1, 103: -0.1}


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Answer:
    """Return what a command prints; four seeds of the cells of one table's main claim lie under --out, and no more."""
    stored = references.load_references

    def load(table: str, profile: str, data: str) -> tuple[Record, ...]:
        return () if table == SPEC.name else stored(table, profile, data)

    monkeypatch.setattr(references, "load_references", load)
    for run in compared(MAIN, SPEC.cells):
        mean = {"synchronized": 52.0, "untrained": 30.0}.get(run.sparsity.method, 50.0)
        for seed in SEEDS:
            record = made_up_record(dataclasses.replace(run, seed=seed), mean + NOISE[seed])
            record.save(RunFolder.of(tmp_path / "runs", record.run).record)

    def act(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["bench", "claims", *arguments, "--out", str(tmp_path)])
        assert main() == 0
        return capsys.readouterr().out

    return act


def test_a_judged_claim_is_told_with_all_that_it_rests_on(answer: Answer) -> None:
    told = answer("--table", "structured", "--profile", "cpu")
    assert "2 claims of one work; judged are 1 of 2 at cpu on cifar10: 1 REPRODUCED." in told
    for part in (MAIN.statement, MAIN.source, "a gain above +0.00", "cpu, cifar10: REPRODUCED: p = "):
        assert part in told
    assert re.search(r"gain \+2\.00 \[\+1\.\d\d, \+2\.\d\d\] \(90%\) of ", told)
    assert "n = 4 seeds, the widest interval +-0." in told
    assert "would be found with 80 %" in told
    command = "python -m bench table structured --profile cpu --data cifar10 --claim"
    assert f"4 of 8 seeds: {command} {MAIN.name} --seeds 8" in told
    assert f"0 of 8 seeds: {command} {SECOND.name} --seeds 8" in told
    assert "accelerator" not in told


def test_what_is_still_to_run_is_about_primary_claims_alone(answer: Answer) -> None:
    told = answer("--table", "structured", "--profile", "cpu", "--next")
    assert f"{MAIN.name} at cpu on cifar10: 4 seeds, the widest interval +-0." in told
    assert ", 8 are wanted\n  python -m bench table structured --profile cpu" in told
    assert SECOND.name not in told


def test_a_size_that_a_table_has_not_is_refused_for_that_table_alone(
    answer: Answer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = answer("--profile", "cpu", "--next")
    assert f"{MAIN.name} at cpu on cifar10" in told
    assert "imagenet" not in told
    monkeypatch.setattr(sys, "argv", ["bench", "claims", "--table", "imagenet100", "--profile", "cpu"])
    assert main() == 2
    assert "table imagenet100, profile cpu: images of 224 pixels are nothing for minutes" in capsys.readouterr().err


def test_json_holds_the_same_unrounded(answer: Answer) -> None:
    body = json.loads(answer("--table", "structured", "--profile", "cpu", "--json"))
    first, second = body["claims"]
    assert (first["verdict"], second["verdict"]) == ("REPRODUCED", "NOT_JUDGED")
    assert (first["seeds"], first["seeds_wanted"], first["seeds_to_settle"]) == (4, 8, None)
    assert {pair["n"] for pair in first["pairs"]} == {4}
    assert all(
        low < pair["difference_points"] < high for pair in first["pairs"] for low, high in [pair["interval_points"]]
    )
    assert 0 < first["power"]["smallest_gain"] < 2
    assert second["pairs"] == []
    assert second["power"] is None
    assert first["claim"]["statement"] == MAIN.statement


def test_claims_that_need_gpus_say_how_many_hours(answer: Answer) -> None:
    body = json.loads(answer("--table", "gating", "--profile", "paper", "--json"))
    assert {item["verdict"] for item in body["claims"]} == {"NOT_JUDGED"}
    hours = {item["claim"]["name"]: item["gpu_hours_missing_estimate"] for item in body["claims"]}
    # 1000 epochs of 49,000 images in batches of 256: 191,000 steps, gated ones of 128.2 ms, dense ones of 38.4; 8 seeds
    per_framework = 8 * 191_000 * (0.1282 + 0.0384) / 3600
    assert hours["cdg-keeps-the-accuracy"] == pytest.approx(4 * per_framework, rel=1e-3)
    told = answer("--table", "gating", "--profile", "paper")
    assert f"about {hours['cdg-keeps-the-accuracy']:,.0f} GPU-hours by estimate" in told
    body = json.loads(answer("--table", "imagenet100", "--profile", "paper", "--json"))
    assert {item["gpu_hours_missing_estimate"] for item in body["claims"]} == {None}  # no such step was ever timed


def test_claims_about_machines_are_judged_by_the_model(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    speed_ups = {"EMA target/block 16x16 d0.50/chip28nm": {8.0: 1.5}, "EMA target/dense/chip28nm": {8.0: 1.0}}
    monkeypatch.setattr(expected, "speed_ups", lambda: speed_ups)
    told = answer("--table", "accelerator")
    assert "structured-sparsity-speeds-training-up, of Synchronized Contrastive Pruning" in told
    assert "REPRODUCED: The expected ratio lies between 1.500 and 1.500" in told


def test_a_table_takes_the_cells_of_one_claim() -> None:
    part = claimed(SPEC, MAIN.name)
    assert set(part.names) == {run.cell for run in compared(MAIN, SPEC.cells)}
    assert any(name.startswith("simclr/untrained") for name in part.names)
    assert claimed(SPEC, None) is SPEC
    with pytest.raises(UsageError, match=r"claim 'synccp-superior-in-block' is unknown\. Did you"):
        claimed(SPEC, "synccp-superior-in-block")
    with pytest.raises(UsageError, match="not all cells that synccp-superior-in-blocks compares are there"):
        claimed(SPEC.select("*/gradual/*"), MAIN.name)
