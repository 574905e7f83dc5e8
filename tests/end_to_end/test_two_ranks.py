"""Two processes over gloo stay one run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def two_ranks(framework: str, method: str, folder: Path, script: str = "tests/end_to_end/two_ranks.py") -> list[Any]:
    command = [sys.executable, script, framework, method, str(folder)]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize(
    ("framework", "method"),
    [("simclr", "synchronized"), ("byol", "synchronized"), ("moco", "rigl"), ("barlow_twins", "granet")],
)
def test_ranks_end_with_the_same_masks_and_weights(framework: str, method: str, tmp_path: Path) -> None:
    first, second = two_ranks(framework, method, tmp_path)
    assert first == second
    assert first["world_size"] == 2
    assert first["update_steps"]
    assert first["samples_seen"] == 16 * 24  # of both ranks together


@pytest.mark.parametrize(("framework", "method"), [("simclr", "single_gate"), ("byol", "dual_gate")])
def test_ranks_steer_their_gates_alike(framework: str, method: str, tmp_path: Path) -> None:
    first, second = two_ranks(framework, method, tmp_path)
    assert first == second
    assert first["world_size"] == 2
    assert first["update_steps"]
    assert len(set(first["aims"])) == 1
