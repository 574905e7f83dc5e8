"""Train tiny runs on two gloo ranks; each writes what they ended with. Arguments: FOLDER FRAMEWORK/METHOD..."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from bench import build, train
from bench.config import Run
from methods import GATES
from tests.end_to_end.test_gating import gated_run
from tests.tiny import dataset_of, tiny_run


def run_of(framework: str, method: str) -> Run:
    if method in GATES:
        return gated_run(framework, method, 1.5, epochs=4)
    return tiny_run(framework, method, gap=0.3 if method == "synchronized" else 0.0, epochs=4)


def ended(run: Run, folder: Path, fabric: Fabric) -> dict[str, Any]:
    dataset = dataset_of(run, folder / f"cache{fabric.global_rank}")
    path = folder / run.run_id / "checkpoint.pt"
    trained = train.pretrain(run, dataset, path, fabric=fabric, tick=lambda _step, _total: None)
    names = ("mask_digest", "mask_digest_target", "loss_digest", "update_steps", "samples_seen", "curves")
    facts = {name: trained.facts[name] for name in names}
    # Not the running statistics: batch normalisation sees its own rank's images.
    weights = b"".join(weight.detach().numpy().tobytes() for weight in trained.encoder.parameters())
    return facts | {"weights": hashlib.sha256(weights).hexdigest(), "world_size": fabric.world_size}


def main(folder: Path, *cells: str) -> None:
    torch.set_num_threads(1)
    runs = {cell: run_of(*cell.split("/")) for cell in cells}
    fabric = build.fabric_for(next(iter(runs.values())), devices=2)
    found = {cell: ended(run, folder, fabric) for cell, run in runs.items()}
    (folder / f"rank{fabric.global_rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
