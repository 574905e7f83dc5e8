"""The tests can see: each mutation of a copy of the code makes its named test fail."""

import contextlib
import multiprocessing
import os
import runpy
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MUTANTS: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("mutants.toml").read_text())
TESTS_FAILED = 1  # pytest's exit code; a mutant that cannot even be imported gives another one
# Every mutant starts as a fork of one process that has imported these, and none of our modules: half of its time.
HEAVY = [
    "torch",
    "torchvision.datasets",
    "sklearn.linear_model",
    "sklearn.datasets",
    "scipy.stats",
    "lightly.models",
    "lightly.loss",
    "lightly.transforms",
    "lightly.utils.benchmarking.knn",
    "lightning_fabric",
]
IN_A_FORK = multiprocessing.get_context("forkserver")
IN_A_FORK.set_forkserver_preload(HEAVY)


def run_test(tree: Path, test: str) -> None:
    """Run a test on a tree in this process, which has imported none of our modules, and exit as pytest does."""
    os.chdir(tree)
    sys.path[:] = [str(tree), *(place for place in sys.path if place not in {"", str(ROOT)})]
    sys.argv = ["pytest", "-q", "-x", "-p", "no:xdist", "--hypothesis-profile=mutant", test]
    with (tree / "output").open("w") as output, contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        runpy.run_module("pytest", run_name="__main__")


def outcome(tree: Path, test: str) -> tuple[int | None, str]:
    """Return the exit code and the output of a test on a tree."""
    process = IN_A_FORK.Process(target=run_test, args=(tree, test))
    process.start()
    process.join()
    return process.exitcode, (tree / "output").read_text()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the code."""
    for part in ("reading", "bench", "methods", "hardware", "tests"):  # compiled files too: times of change are kept
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copytree(ROOT / "results", tmp_path / "results", ignore=shutil.ignore_patterns("references"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.mutant
@pytest.mark.parametrize("name", MUTANTS)
def test_the_mutant_is_killed(name: str, tree: Path) -> None:
    mutant = MUTANTS[name]
    path = tree / mutant["file"]
    text = path.read_text()
    assert text.count(mutant["old"]) == 1, f"{name}: the code to mutate is not there, once"
    path.write_text(text.replace(mutant["old"], mutant["new"]))
    code, output = outcome(tree, mutant["test"])
    assert code == TESTS_FAILED, output
    assert "1 failed" in output, output


@pytest.mark.mutant
def test_an_unharmed_copy_passes(tree: Path) -> None:
    code, output = outcome(tree, MUTANTS["judge_always_reproduced"]["test"])
    assert code == 0, output
