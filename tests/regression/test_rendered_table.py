"""One made-up table, compared whole, as text: what a reader sees must not move unnoticed.

``rendered_table.md`` and ``rendered_table.txt`` lie beside this file. After a wanted change of the report,
delete them, run this test (it writes them and fails once), read the difference, and commit it.
"""

import io
from pathlib import Path

import pytest

from bench.judging.judge import assemble
from bench.judging.judged_table import JudgedTable
from bench.report.markdown import markdown
from bench.report.page import page
from bench.report.text import text
from bench.runs.outcomes import Failed, NotRun
from tests.made_up_tables import (
    made_up_claim,
    made_up_claims,
    made_up_record,
    made_up_records,
    made_up_run,
    made_up_spec,
    made_up_tolerances,
)

NOISE = (-0.4, 0.2, 0.5, -0.6, 0.3)


def _table() -> JudgedTable:
    """Return a table with every verdict in it."""
    dense = made_up_run()
    good = made_up_run("gradual", density=0.10)
    worse = made_up_run("gradual", density=0.02)
    open_ = made_up_run("static_erk", density=0.10)
    broken = made_up_run("static_erk", density=0.02)
    synchronized = made_up_run("synchronized", density=0.10, gap=0.3)
    new = made_up_run("synchronized", density=0.02, gap=0.3)
    failed, missing = made_up_run("dense", framework="byol"), made_up_run("untrained", framework="byol")
    means = {dense: 52.0, good: 50.0, worse: 45.0, open_: 49.0, broken: 44.0, synchronized: 50.5}
    fresh = {dense: 52.3, good: 49.8, worse: 40.1, open_: 50.6, synchronized: 50.9}
    return assemble(
        made_up_spec(dense, good, worse, open_, broken, synchronized, new, failed, missing, profile="cpu"),
        [
            *(
                record
                for run, mean in fresh.items()
                for record in made_up_records(run, [mean + noise for noise in NOISE[:2]], first_seed=100)
            ),
            made_up_record(made_up_run("static_erk", density=0.02, seed=100), 44.0, facts={"kept_weights": 21}),
            made_up_record(made_up_run("synchronized", density=0.02, gap=0.3, seed=100), 46.0),
            Failed(run_id="a", cell=failed.cell, seed=100, reason="the worker died (signal 9)"),
            NotRun(run_id="b", cell=missing.cell, seed=100, reason="interrupted"),
        ],
        [
            record
            for run, mean in means.items()
            for record in made_up_records(run, [mean + noise for noise in NOISE], first_seed=0)
        ],
        made_up_tolerances(delta=2.0),
        made_up_claims(
            made_up_claim("better", left="*/synchronized/element/d0.10*", right=["*/gradual/element/d0.10"]),
            made_up_claim("much-better", is_primary=False, right=["*/dense/*"], left="*/gradual/element/d0.02"),
            made_up_claim("elsewhere", work="Another Work", profiles=["paper"]),
        ),
        notes=["The code changed since 2 of the records were made: those were run again."],
        banner="STAND-IN DATA: made-up numbers, no training took place.",
        wall_seconds=471.6,
    )


@pytest.mark.parametrize("suffix", ["md", "txt"])
def test_the_rendered_table_has_not_moved(suffix: str) -> None:
    laid_out = page(_table())
    rendered = markdown(laid_out) if suffix == "md" else text(laid_out, io.StringIO())
    path = Path(__file__).with_name(f"rendered_table.{suffix}")
    if not path.exists():
        path.write_text(rendered, encoding="utf-8")
        pytest.fail(f"{path.name} was missing and has been written: read it, then commit it.")
    assert rendered == path.read_text(encoding="utf-8")
