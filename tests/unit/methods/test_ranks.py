"""Laws I35 and I47: masks are equal on all ranks after every update, whatever the ranks' seeds and data."""

import json
import os
import subprocess
import sys
from pathlib import Path

from methods import METHODS
from tests.strategies import FIXED

ROOT = Path(__file__).parents[3]


def ranks(meeting: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the digests that two ranks print."""
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


def test_masks_are_equal_on_all_ranks(tmp_path: Path) -> None:
    """One test, because the ranks' imports cost more than the steps."""
    one, other = ranks(tmp_path / "meeting")
    assert {key.partition(" ")[0] for key in one} - {"mutation"} == set(METHODS)
    for key in one.keys() - {"mutation"}:
        first, second = one[key], other[key]
        assert first == second, key
        assert (len(set(first)) > 1) == (key.partition(" ")[0] not in FIXED), key
    # Without reducing the dense gradient masks differ.
    first, second = one["mutation"], other["mutation"]
    assert first[0] == second[0]
    assert first != second
