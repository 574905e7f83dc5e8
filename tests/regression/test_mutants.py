"""The tests can see: each mutation of a copy of the code makes its named test fail."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MUTANTS: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("mutants.toml").read_text())
TESTS_FAILED = 1  # pytest's exit code; a mutant that cannot even be imported gives another one


@pytest.mark.mutant
@pytest.mark.parametrize("name", MUTANTS)
def test_the_mutant_is_killed(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    for part in ("bench", "methods", "hardware", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "results", tmp_path / "results", ignore=shutil.ignore_patterns("references"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / mutant["file"]
    text = path.read_text()
    assert text.count(mutant["old"]) == 1, f"{name}: the code to mutate is not there, once"
    path.write_text(text.replace(mutant["old"], mutant["new"]))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", mutant["test"]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == TESTS_FAILED, done.stdout
