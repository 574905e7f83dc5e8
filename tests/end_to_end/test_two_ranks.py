"""Two processes over gloo stay one run."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.training import parts
from tests import forked
from tests.end_to_end.two_ranks import GATHERING, STEPS, differentiate, gradients, normalised_by_rank, train
from tests.tiny import BATCH, tiny_run

MASKED = ("simclr/synchronized", "byol/synchronized", "moco/rigl", "barlow_twins/granet")
GATED = ("simclr/single_gate", "byol/dual_gate", "byol/spatial_gate")


def both(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    first, second = (json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2))
    return first, second


def test_ranks_end_with_the_same_masks_gates_and_weights(tmp_path: Path) -> None:
    """Each with the running statistics of its own images, and only if they start alike; DDP has nothing to warn of.

    One test, because the ranks' start costs more than a run.
    """
    forked.ranks(train, tmp_path, *GATED, *MASKED, output=tmp_path / "output")
    first, second = both(tmp_path)
    assert set(first) == {*MASKED, *GATED, "apart"}
    assert first == second
    assert first["apart"].startswith("rank 1: weights or masks at the start are not those of rank 0")
    for cell in (*MASKED, *GATED):
        facts = first[cell]
        assert facts["world_size"] == 2
        assert facts["update_steps"]
        assert facts["samples_seen"] == STEPS * BATCH  # of both ranks together
    for cell in GATED:
        assert first[cell]["curves"]["aim"]


def test_gradients_are_those_of_one_process_with_the_whole_batch(tmp_path: Path) -> None:
    """So they are what the loss of the joined batch says: gathered, and neither doubled nor halved on the way back.

    MoCo's first step never looks at another rank; the others rank the queue, which holds the keys of both. Barlow Twins
    is one process with the whole batch only if that normalises each rank's images by themselves: Lightly sums the
    correlations over ranks, but takes means and deviations per rank.
    """
    forked.ranks(differentiate, tmp_path, *GATHERING, output=tmp_path / "output")
    found, same = both(tmp_path)
    assert found == same
    fabric = parts.fabric_for(tiny_run("simclr", "dense"))
    for framework in GATHERING:
        with normalised_by_rank() if framework == "barlow_twins" else contextlib.nullcontext():
            alone = np.array(gradients(framework, tmp_path / "alone", fabric))
        errors = np.linalg.norm(found[framework] - alone, axis=1) / np.linalg.norm(alone, axis=1)
        assert errors.shape == (4,)
        assert errors.max() < 2e-4, framework  # 1e-5 were found; without gathering, 2e-3 at least
