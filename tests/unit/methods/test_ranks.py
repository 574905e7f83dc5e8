"""Laws I35 and I47: masks are equal on all ranks after every update, whatever the ranks' seeds and data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from methods import METHODS

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The digests that two ranks print."""
    meeting = tmp_path_factory.mktemp("ranks") / "meeting"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = str(Path(__file__).with_name("two_ranks.py"))
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(rank), str(meeting)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=120) for process in processes]
    for process, (_, errors) in zip(processes, printed, strict=True):
        assert process.returncode == 0, errors
    first, second = (json.loads(output) for output, _ in printed)
    return first, second


@pytest.mark.parametrize("pair", ["EMA", "tied"])
@pytest.mark.parametrize("name", METHODS)
def test_masks_are_equal_on_all_ranks(
    ranks: tuple[dict[str, list[str]], dict[str, list[str]]], name: str, pair: str
) -> None:
    first, second = (rank[f"{name} {pair}"] for rank in ranks)
    assert first == second
    assert (len(set(first)) > 4) == (name not in {"dense", "static_erk", "static_uniform"})


def test_without_reducing_the_dense_gradient_masks_differ(
    ranks: tuple[dict[str, list[str]], dict[str, list[str]]],
) -> None:
    first, second = (rank["mutation"] for rank in ranks)
    assert first[0] == second[0]
    assert first != second
