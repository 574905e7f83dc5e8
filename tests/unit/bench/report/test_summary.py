"""The job's summary, and the workflow that makes it."""

from pathlib import Path

import pytest

from bench.judging.judge import assemble
from bench.report.page import Page, page
from bench.report.summary import VARIABLE, append
from tests.made_up_tables import made_up_claims, made_up_records, made_up_run, made_up_spec, made_up_tolerances

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def laid_out() -> Page:
    run = made_up_run()
    references = made_up_records(run, [50.0, 50.5, 49.5, 50.2, 49.8], first_seed=0)
    fresh = made_up_records(run, [50.1], first_seed=100)
    return page(assemble(made_up_spec(run), fresh, references, made_up_tolerances(), made_up_claims()))


def test_the_summary_is_appended_to_the_file_that_the_host_names(
    laid_out: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.md"
    path.write_text("# an earlier step\n")
    monkeypatch.setenv(VARIABLE, str(path))
    assert append(laid_out, ["**Passed.** 1 of 1 runs."]) == path
    earlier, title, said, lead, *_ = [line for line in path.read_text().splitlines() if line]
    assert (earlier, title, said) == ("# an earlier step", "# A made-up table", "**Passed.** 1 of 1 runs.")
    assert lead.startswith("Of 1 claims")
    assert "| simclr/dense/-/d1.00 | REPRODUCED |" in path.read_text()


@pytest.mark.parametrize("named", ["", None])
def test_outside_a_job_nothing_is_written(laid_out: Page, named: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if named is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, named)
    assert append(laid_out, []) is None


def test_the_workflow_runs_the_checks_and_names_no_registry() -> None:
    text = (ROOT / ".github/workflows/checks.yml").read_text()
    for session in ("lint", "types", "tests", "regression"):
        assert f"nox -s {session}\n" in text
    assert "://" not in text
    assert "index" not in text
