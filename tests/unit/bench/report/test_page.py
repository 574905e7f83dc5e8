import dataclasses
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.config.views import ViewSpec
from bench.judging.judge import assemble
from bench.judging.judged_table import JudgedTable
from bench.report import show, write
from bench.report.heading import heading
from bench.report.html import page_html
from bench.report.json import payload
from bench.report.markdown import markdown
from bench.report.page import Page, page
from bench.report.text import text
from bench.runs.outcomes import Failed, Outcome
from tests.made_up_tables import (
    made_up_claims,
    made_up_records,
    made_up_run,
    made_up_spec,
    made_up_tolerances,
)

DENSE, SPARSE = made_up_run(), made_up_run("gradual", density=0.1)
REFERENCES = [
    *made_up_records(DENSE, [50.0, 50.4, 49.6, 50.6, 49.4], first_seed=0),
    *made_up_records(SPARSE, [45.0, 45.4, 44.6, 45.6, 44.4], first_seed=0),
]
COLUMNS = {15, 7}  # of the results, of the claims: those with nothing to show are left out
RENDERERS = (markdown, page_html, lambda laid_out: text(laid_out, io.StringIO()))
BANNER = "STAND-IN DATA: <b>digits</b> | not *photographs*"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _table(banner: str = "", notes: tuple[str, ...] = ()) -> JudgedTable:
    failed = Failed(run_id="x", cell=SPARSE.cell, seed=100, reason="died of <script>alert(1)</script>")
    outcomes: list[Outcome] = [*made_up_records(DENSE, [50.0, 50.5], first_seed=100), failed]
    return assemble(
        made_up_spec(DENSE, SPARSE),
        outcomes,
        REFERENCES,
        made_up_tolerances(),
        made_up_claims(),
        notes=notes,
        banner=banner,
        wall_seconds=61.4,
    )


def test_the_head_says_which_views_were_seen_and_that_they_began_small() -> None:
    views = ViewSpec(pipeline="batched-v1", recipe="soft", small_pixels=16, small_fraction=0.85)
    spec = made_up_spec(dataclasses.replace(DENSE, views=views))
    judged = assemble(spec, None, [], made_up_tolerances(), made_up_claims())
    assert "views batched-v1 soft, 16 pixels in the first 85% of the steps" in dict(heading(judged))["training"]


@pytest.mark.parametrize("render", RENDERERS)
def test_the_banner_stands_above_and_inside_the_table(render: Callable[[Page], str]) -> None:
    rendered = render(page(_table(BANNER)))
    above, inside = (found.start() for found in re.finditer("STAND-IN DATA", rendered))
    assert above < rendered.index("linear, references") < inside < rendered.index(DENSE.cell)


def test_the_payload_holds_the_banner() -> None:
    assert json.loads(payload(_table(BANNER)))["banner"] == BANNER


def test_without_a_banner_there_is_none() -> None:
    laid_out = page(_table())
    assert all(
        "!!!" not in rendered for rendered in (text(laid_out, io.StringIO()), markdown(laid_out), page_html(laid_out))
    )


@pytest.mark.parametrize("render", RENDERERS)
def test_every_report_says_what_matters(render: Callable[[Page], str]) -> None:
    rendered = render(page(_table(notes=("code changed since c0ffee: run again",)))).replace("\\_", "_")
    for needed in (
        "50.25 ± 0.35 (2)",  # mean, sd with n - 1, n
        "50.00 ± 0.51 (5)",
        "+0.25",
        "REPRODUCED",
        "FAILED",
        "seed 100: died of",
        "1.0000",
        "Small run",
        "code changed since c0ffee: run again",
        "Detectable shift:",
        "Positive control: a planted loss of the margin and 3 sd is called DEVIATES in 1 of 1 cells",
        "Margin 3.00 points",
        "NOT_JUDGED: too small",
        "zeros are applied, not skipped",
        "61 s",
        "host-a",
        "c0ffee",
    ):
        assert needed in rendered, needed


def test_the_same_table_gives_the_same_text() -> None:
    assert markdown(page(_table())) == markdown(page(_table()))
    assert payload(_table()) == payload(_table())


def test_markdown_cannot_be_broken_by_a_reason() -> None:
    rendered = markdown(page(_table(BANNER)))
    assert not re.search(r"(?<!\\)<", rendered)
    rows = [line for line in rendered.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) - 1 for line in rows} == COLUMNS


def test_html_escapes_and_is_well_formed() -> None:
    rendered = page_html(page(_table(BANNER)))
    assert rendered.count("<script") == 1  # ours, which sorts
    assert "<b>digits" not in rendered
    assert "&lt;script&gt;" in rendered
    checker = _Balance()
    checker.feed(rendered)
    assert checker.open == []
    assert checker.cells == {16, 7, 1}  # one more than elsewhere: the command that repeats a row


class _Balance(HTMLParser):
    """Checks that elements close in order; counts the cells of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: set[int] = set()
        self._row = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        if tag in {"meta", "img", "wbr"}:
            return
        self.open.append(tag)
        self._row = 0 if tag == "tr" else self._row + (tag in {"td", "th"})

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "tr":
            self.cells.add(self._row)


def test_a_log_gets_no_escape_sequences_and_whole_lines() -> None:
    rendered = text(page(_table()), io.StringIO())
    assert "\x1b" not in rendered
    (line,) = [line for line in rendered.splitlines() if line.startswith(DENSE.cell)]
    assert "REPRODUCED" in line
    assert "50.25 ± 0.35 (2)" in line


@pytest.mark.parametrize(
    ("columns", "shows_knn", "shows_macs"), [(80, False, False), (165, True, False), (220, True, True)]
)
def test_a_terminal_gets_what_fits_and_colour_that_repeats_words(
    monkeypatch: pytest.MonkeyPatch, columns: int, *, shows_knn: bool, shows_macs: bool
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    rendered = text(page(_table()), Terminal())
    assert "\x1b[" in rendered
    plain = re.sub(r"\x1b\[[0-9;]*m", "", rendered)
    assert max(map(len, plain.splitlines())) <= columns
    (line,) = [line for line in plain.splitlines() if line.startswith(DENSE.cell)]
    assert "REPRODUCED" in line
    assert "50.25 ± 0.35 (2)" in line
    (head,) = [line for line in plain.splitlines() if line.startswith("cell ")]
    assert ("kNN" in head, "training MACs" in head) == (shows_knn, shows_macs)


def test_the_payload_holds_every_run() -> None:
    body = json.loads(payload(_table()))
    dense, sparse = body["rows"]
    assert dense["new"]["linear_top1_percent"]["values"] == {"100": 50.0, "101": 50.5}
    assert dense["references"]["linear_top1_percent"]["n"] == 5
    assert dense["judgement"] == {"verdict": "REPRODUCED", "reason": ""}
    assert sparse["judgement"]["verdict"] == "FAILED"
    assert sparse["new"]["linear_top1_percent"]["mean"] is None
    assert body["exit_code"] == 1
    assert body["tolerances"]["margins"]["simclr"]["linear_top1_percent"]["delta_points"] == 3.0
    assert 0 <= body["worth"]["false_deviates_probability"] < 1
    assert body["claims"][0]["judgement"]["verdict"] == "NOT_JUDGED"


def test_a_table_without_anything_to_compare_is_still_printed() -> None:
    table = assemble(made_up_spec(DENSE), [], [], made_up_tolerances(), made_up_claims())
    assert "No cell could be compared" in markdown(page(table))
    assert json.loads(payload(table))["worth"] is None
    assert "NOT_RUN" in page_html(page(table))


def test_four_files_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = _table()
    paths = write(table, page(table), tmp_path / "tables")
    assert [path.name for path in paths] == [
        f"cifar10-smoke-cifar10.{suffix}" for suffix in ("md", "html", "json", "svg")
    ]
    assert all(path.read_text(encoding="utf-8").endswith("\n") for path in paths)
    show(page(table))
    assert "A made-up table" in capsys.readouterr().out
