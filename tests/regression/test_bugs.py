"""Every published bug we know, and every fault found here, has a test of ours, or a reason why it cannot occur."""

import ast
import functools
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BUGS: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("bugs.toml").read_text())
MUTANTS: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("mutants.toml").read_text())
FINDINGS: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("findings.toml").read_text())
SCALE: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("scale.toml").read_text())
REQUIRED = [
    *(f"B{number}" for number in (*range(1, 21), *range(30, 39))),
    *(f"G{number}" for number in range(1, 8)),
    *(f"S{number}" for number in range(1, 11)),
    *(f"U{number}" for number in range(1, 23)),
    *("F1", "F2", "DG1"),
]


@pytest.mark.parametrize("bug", REQUIRED)
def test_the_bug_is_listed(bug: str) -> None:
    assert bug in BUGS


@pytest.mark.parametrize("bug", BUGS)
def test_the_entry_names_a_test_that_exists_or_a_reason(bug: str) -> None:
    entry = BUGS[bug]
    if "impossible" in entry:
        assert entry["impossible"].startswith("because ")
        assert entry.keys() == {"impossible"}
        return
    all_exist(entry)


@pytest.mark.parametrize("number", range(1, 26))
def test_every_finding_of_an_attack_on_the_suite_names_tests_that_exist(number: int) -> None:
    all_exist(FINDINGS[str(number)])


@pytest.mark.parametrize("number", range(1, 24))
def test_everything_that_kept_the_suite_from_gpus_and_clusters_names_tests_that_exist(number: int) -> None:
    all_exist(SCALE[str(number)])


def all_exist(entry: dict[str, Any]) -> None:
    assert entry.keys() in ({"test"}, {"tests"})
    for test in named_by(entry):
        path, _, name = test.partition("::")
        assert functions_of(path).count(name) == 1


@functools.cache
def functions_of(path: str) -> list[str]:
    tree = ast.parse((ROOT / path).read_text())
    return [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("name", [name for name, mutant in MUTANTS.items() if "bug" in mutant])
def test_a_mutant_of_a_bug_is_killed_by_the_test_that_the_bug_names(name: str) -> None:
    mutant = MUTANTS[name]
    function, _, _ = mutant["test"].partition("[")
    assert function in named_by(BUGS[mutant["bug"]])


def named_by(entry: dict[str, Any]) -> list[str]:
    return list(entry.get("tests") or [entry["test"]])
