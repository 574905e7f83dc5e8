"""Use the command line on every rank of torchrun: whole, stopped on one rank alone, and resumed."""

import signal
import sys
from pathlib import Path
from unittest.mock import patch

from bench.__main__ import main
from bench.runs.world import World
from bench.training import ranks

CELLS = {
    "byol/synchronized/element/d0.20+g0.30": {"data.train_images": 32, "framework.prediction_dim": 16},
    "simclr/dual_gate/element/t1.50": {"data.train_images": 56, "data.held_out_images": 24},
}
SMALL = {
    "encoder.width": 0.0625,
    "framework.hidden_dim": 16,
    "framework.output_dim": 16,
    "optimizer.batch_images": 8,
    "optimizer.epochs": 2,
}
STOPPED_AT = 5  # of 8, in the middle of an epoch, while masks change and gates are steered


def command(cell: str, out: Path) -> int:
    """Return the exit code of the command that makes a cell."""
    sys.argv = ["bench", "run", cell, "--data", "digits", "--out", str(out)]
    sys.argv += [word for key, value in {**SMALL, **CELLS[cell]}.items() for word in ("--set", f"{key}={value}")]
    return main()


def stopped(cell: str, out: Path, world: World) -> int:
    """Return the exit code of the command, of which the last rank alone is told to stop."""
    agreed, asked = ranks.agreed, 0

    def told(flag: bool) -> bool:  # noqa: FBT001 - as what it stands for
        nonlocal asked
        asked += 1
        if asked == 2 * STOPPED_AT and world.rank == world.size - 1:  # asked twice a step: to stop, and to save
            signal.raise_signal(signal.SIGTERM)
        return agreed(flag)

    with patch.object(ranks, "agreed", told):
        return command(cell, out)


def both(folder: Path) -> None:
    world = World.of_environment()
    assert world.size == 2
    for cell in CELLS:
        assert command(cell, folder / "whole") == 0
        assert stopped(cell, folder / "resumed", world) == 128 + signal.SIGTERM
        assert not [*(folder / "resumed").glob(f"runs/{cell.split('/')[0]}*/record.json")]
        assert command(cell, folder / "resumed") == 0
