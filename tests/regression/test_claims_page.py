"""The stored page of claims is what the stored references say, and the README shows its verdicts."""

import sys
from pathlib import Path

import pytest

from bench.__main__ import main

ROOT = Path(__file__).parents[2]


def test_the_stored_page_is_made_from_the_stored_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "claims", "--markdown", "--out", str(tmp_path)])
    assert main() == 0
    page = capsys.readouterr().out
    stored = ROOT / "results" / "claims.md"
    assert page == stored.read_text(), f"make it anew: python -m bench claims --markdown --out NOWHERE > {stored.name}"


def test_the_readme_shows_every_verdict_of_the_page() -> None:
    page, readme = ((ROOT / name).read_text() for name in ("results/claims.md", "README.md"))
    judged = page.split("## Judged")[1].split("## Every difference")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in judged.splitlines() if line.startswith("| ")
    ]
    for name, _, size, verdict, gain, *_ in rows[2:]:
        assert f"| {name} | {size} | {verdict} | {gain} |" in readme
    lead = page.splitlines()[2].replace("\\", "")
    assert lead in " ".join(readme.split())
