"""The page of everything judges claims by all that there is, as ``claims`` does."""

import dataclasses
import sys
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.commands.place import Out, Place
from bench.commands.report import Report
from bench.commands.table import Table
from bench.judging.references import load_references
from bench.runs.folder import RunFolder

GATING = ("gating", "cpu", "cifar10")


def test_a_stray_run_takes_no_judged_claim_off_the_page(tmp_path: Path) -> None:
    dense = next(item for item in load_references(*GATING) if item.run.cell == "simclr/dense/-/d1.00")
    stray = dataclasses.replace(
        dense, run=dataclasses.replace(dense.run, seed=100), facts={**dense.facts, "weights_digest": "its own"}
    )
    stray.save(RunFolder.of(tmp_path / "runs", stray.run).record)
    name, _profile, data = GATING
    asked = Table(name=name, profile="cpu", data=data, stored=True, place=Place(out=tmp_path))
    alone = asked.judged()
    assert not any(item.judgement.verdict.is_judged for item in alone.claims)  # a table's own runs are too few
    page = Report(place=Out(out=tmp_path))._with_all_evidence(asked, alone)
    judged = [item for item in page.claims if item.judgement.verdict.is_judged]
    assert len(judged) >= 4
    assert max(item.seeds for item in judged) >= 8
    assert [item.claim.name for item in page.claims] == [item.claim.name for item in alone.claims]


def test_a_run_on_other_images_is_named_and_moves_no_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told() -> tuple[str, str]:
        arguments = ["bench", "claims", "--table", "gating", "--profile", "cpu", "--out", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", arguments)
        assert main() == 0
        said = capsys.readouterr()
        return said.out, said.err

    before, _ = told()
    stored = next(item for item in load_references(*GATING) if item.run.cell == "simclr/dense/-/d1.00")
    facts = {**stored.facts, "weights_digest": "its own", "data_fingerprint": "dead"}
    other = dataclasses.replace(stored, run=dataclasses.replace(stored.run, seed=100), facts=facts)
    other.save(RunFolder.of(tmp_path / "runs", other.run).record)
    after, errors = told()
    assert after == before
    assert f"does not count for gating at cpu on cifar10: {other.run_id}: data_fingerprint: expected" in errors
