"""Two processes over gloo stay one run."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MASKED = ("simclr/synchronized", "byol/synchronized", "moco/rigl", "barlow_twins/granet")
GATED = ("simclr/single_gate", "byol/dual_gate", "byol/spatial_gate")


def test_ranks_end_with_the_same_masks_gates_and_weights(tmp_path: Path) -> None:
    """One test, because the ranks' imports cost more than the runs."""
    command = [sys.executable, "tests/end_to_end/two_ranks.py", str(tmp_path), *MASKED, *GATED]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert set(first) == {*MASKED, *GATED}
    for facts in first.values():
        assert facts["world_size"] == 2
        assert facts["update_steps"]
        assert facts["samples_seen"] == 16 * 24  # of both ranks together
    for cell in GATED:
        assert first[cell]["curves"]["aim"]
