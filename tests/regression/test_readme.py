"""The README shows the stored table, column for column, and names commands that exist."""

import re
import statistics
import sys
import tomllib
from pathlib import Path

import matplotlib as mpl
import pytest

from bench.__main__ import main
from bench.judging.references import load_references
from bench.judging.verdict import MINIMUM_REFERENCES
from bench.tables import TABLES
from tests.unrecorded import is_unrecorded

ROOT = Path(__file__).parents[2]
SHOWN = (
    *("cell", "against our references", "linear", "linear, references"),
    *("vs dense, ± 95 %", "density", "MACs", "training MACs"),
)
README = (ROOT / "README.md").read_text()


def excerpt(markdown: str) -> str:
    """Return the columns of the results that a README has room for."""
    (section,) = re.findall(r"^## Results.*?\n\n(.*?)\n\n", markdown, flags=re.MULTILINE | re.DOTALL)
    lines = [[entry.strip() for entry in line.strip("|").split("|")] for line in section.splitlines()]
    places = [lines[0].index(name) for name in SHOWN]
    return "\n".join("| " + " | ".join(line[place] for place in places) + " |" for line in lines)


def test_the_readme_shows_six_rows_of_the_stored_table() -> None:
    stored = excerpt((ROOT / "results/tables/cifar10-smoke-cifar10.md").read_text()).splitlines()
    shown = [line for line in README.splitlines() if line.startswith("| simclr/")]
    assert len(shown) == 6
    assert [line for line in stored if line in shown] == shown
    assert all(line in README for line in stored[:2])


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 120


STORED = sorted((ROOT / "results/tables").glob("*.md"))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_stored_table_has_the_rows_of_the_table_that_have_references(path: Path) -> None:
    name, profile, data = path.stem.split("-")
    stored = path.read_text().replace("\\", "")
    (section,) = re.findall(r"^## Results.*?\n\n(.*?)\n\n", stored, flags=re.MULTILINE | re.DOTALL)
    cells = [line.strip("|").split("|")[0].strip() for line in section.splitlines()[2:]]
    names = TABLES[name](profile, data).names
    assert cells == [cell for cell in names if not is_unrecorded((name, profile, data), cell)]


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_stored_table_shows_the_means_of_the_stored_references(path: Path) -> None:
    """Found by a review: the table of a former recipe, and any number typed into it, passed."""
    name, profile, data = path.stem.split("-")
    runs = load_references(name, profile, data)
    (section,) = re.findall(r"^## Results.*?\n\n(.*?)\n\n", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    head, _, *lines = ([entry.strip() for entry in line.strip("|").split("|")] for line in section.splitlines())
    place = head.index("linear, references")
    for line in lines:
        cell = line[0].replace("\\", "")
        found = [item.metrics["linear_top1_percent"] for item in runs if item.run.cell == cell]
        assert len(found) >= MINIMUM_REFERENCES, f"{cell} has no references: make the table again"
        assert line[place] == f"{statistics.fmean(found):.2f} ± {statistics.stdev(found):.2f} ({len(found)})", cell


def test_the_picture_is_drawn_from_the_stored_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After new runs: the command below, and copy the SVG from ``out/tables/``."""
    command = ["table", "cifar10", "--profile", "cpu", "--stored", "--cells", "?[io]*/[!d]*/[-e]*/*"]
    monkeypatch.setattr(sys, "argv", ["bench", *command, "--out", str(tmp_path)])
    main()
    (name,) = re.findall(r"^!\[.*\]\(results/tables/(.*)\)$", README, flags=re.MULTILINE)
    drawn, stored = ((folder / name).read_bytes() for folder in (tmp_path / "tables", ROOT / "results/tables"))
    if f"matplotlib=={mpl.__version__}\n" in (ROOT / "constraints.txt").read_text():  # others draw with other strokes
        assert drawn == stored


def test_every_session_the_readme_names_exists() -> None:
    recipe = (ROOT / "noxfile.py").read_text()
    sessions = set(re.findall(r"^@nox\.session\(.*\)\ndef (\w+)\(session", recipe, flags=re.MULTILINE))
    named = {name for line in re.findall(r"nox -s ([a-z0-9_ ]+)", README) for name in line.split()}
    assert named
    assert named <= sessions


def test_the_readme_says_which_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    assert "Python 3.11" in README
