"""The tests can see: each mutation of a copy of the code makes its named test fail."""

import os
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from methods.gating import compiled
from tests.forked import OURS, Running

ROOT = Path(__file__).parents[2]
MUTANTS: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("mutants.toml").read_text())
TESTS_FAILED = 1  # pytest's exit code; a mutant that cannot even be imported gives another one
SECONDS = 600.0


def mutants() -> list[object]:
    """Return the names; where there is no C++ compiler, those of a test that wants one are skipped."""
    missing = {name: compiled.missing() for name, mutant in MUTANTS.items() if mutant.get("needs") == "a compiler"}
    marks = {name: pytest.mark.skip(reason=why) for name, why in missing.items() if why}
    return [pytest.param(name, marks=marks[name]) if name in marks else name for name in MUTANTS]


def run_test(tree: Path, test: str) -> None:
    """Run a test on a tree in this process, which knows no module of ours from elsewhere, and exit as pytest does.

    Asserts are not rewritten: nobody reads what they compared, and rewriting costs a second.
    """
    sys.path[:] = [str(tree), *(place for place in sys.path if place not in {"", str(ROOT), str(tree)})]
    options = ["-q", "-x", "--assert=plain", "--disable-plugin-autoload", "-p", "_hypothesis_pytestplugin"]
    sys.exit(pytest.main([*options, "--hypothesis-profile=mutant", "-p", "no:unraisableexception", test]))


def outcome(tree: Path, test: str) -> tuple[int | None, str]:
    """Return the exit code and the output of a test on a tree."""
    with Running(run_test, tree, test, output=tree / "output", place=tree) as process:
        output, errors = process.communicate(timeout=SECONDS)
    return process.returncode, output + errors


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code."""
    folder = tmp_path_factory.mktemp("tree")
    for part in OURS:  # compiled files too: times of change are kept
        shutil.copytree(ROOT / part, folder / part)
    shutil.copytree(ROOT / "results", folder / "results", ignore=shutil.ignore_patterns("references"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture
def tree(copy: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The copy with the test's mutant in it, for as long as the test runs."""
    mutant = MUTANTS[request.node.callspec.params["name"]]
    path = copy / mutant["file"]
    text, times = path.read_text(), path.stat()
    assert text.count(mutant["old"]) == 1, "the code to mutate is not there, once"
    path.write_text(text.replace(mutant["old"], mutant["new"]))
    # A time of its own, so that what was compiled of another mutant of the file is never taken for this one.
    moment = 1 + list(MUTANTS).index(request.node.callspec.params["name"])
    os.utime(path, (moment, moment))
    yield copy
    path.write_text(text)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # of the compiled file


@pytest.mark.mutant
@pytest.mark.parametrize("name", mutants())
def test_the_mutant_is_killed(name: str, tree: Path) -> None:
    code, output = outcome(tree, MUTANTS[name]["test"])
    assert code == TESTS_FAILED, output
    assert "1 failed" in output, output


@pytest.mark.mutant
def test_an_unharmed_copy_passes(copy: Path) -> None:
    code, output = outcome(copy, MUTANTS["judge_always_reproduced"]["test"])
    assert code == 0, output
