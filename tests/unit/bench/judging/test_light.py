"""Whoever only judges or lays tables out waits for no torch: neither the judge nor the tables import it."""

import subprocess
import sys

HEAVY = ("torch", "torchvision", "sklearn", "lightly")


def test_judge_and_tables_import_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys, bench.judging.judge, bench.judging.claims, bench.judging.references, bench.tables\n"
        f"print(*(name for name in {HEAVY} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
