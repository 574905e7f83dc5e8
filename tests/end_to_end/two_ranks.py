"""Train one tiny run on two gloo ranks; each writes what it ended with. Arguments: FRAMEWORK METHOD FOLDER."""

import hashlib
import json
import sys
from pathlib import Path

import torch

from bench import build, train
from bench.config import Run
from methods import GATES
from methods.gating.layer import gated
from tests.end_to_end.test_gating import gated_run
from tests.tiny import dataset_of, tiny_run


def run_of(framework: str, method: str) -> Run:
    if method in GATES:
        return gated_run(framework, method, 1.5, epochs=4)
    return tiny_run(framework, method, gap=0.3 if method == "synchronized" else 0.0, epochs=4)


def main(framework: str, method: str, folder: Path) -> None:
    torch.set_num_threads(1)
    run = run_of(framework, method)
    fabric = build.fabric_for(run, devices=2)
    rank = fabric.global_rank
    dataset = dataset_of(run, folder / f"cache{rank}")
    trained = train.pretrain(run, dataset, folder / "checkpoint.pt", fabric=fabric, tick=lambda _step, _total: None)
    names = ("mask_digest", "mask_digest_target", "loss_digest", "update_steps", "samples_seen")
    facts = {name: trained.facts[name] for name in names}
    # Not the running statistics: batch normalisation sees its own rank's images.
    weights = b"".join(weight.detach().numpy().tobytes() for weight in trained.encoder.parameters())
    aims = [layer.get_buffer("gate.aim").item() for layer in gated(trained.encoder).values()]
    facts |= {"aims": aims, "weights": hashlib.sha256(weights).hexdigest(), "world_size": fabric.world_size}
    (folder / f"rank{rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
