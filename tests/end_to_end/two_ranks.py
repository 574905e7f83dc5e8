"""Train tiny runs on two gloo ranks; each writes what it ended with."""

import contextlib
import hashlib
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightly.loss.barlow_twins_loss
import torch
import torch.distributed
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from bench.config.run import Run
from bench.data.dataset import Dataset
from bench.frameworks import Framework
from bench.ticks import silent
from bench.training import loop
from bench.training import parts as training_parts
from bench.training.state import Training, TrainingError
from methods import GATES
from methods.gating import control
from tests import tiny
from tests.strategies import has_gap
from tests.tiny import dataset_of, gated_run, tiny_run

RANKS = 2
EPOCHS, STEPS = 2, 8  # masks change, and gates are steered, in the middle of these steps
OWN = "running_statistics"  # of the images that a rank has seen, so its own
GATHERING = ("simclr", "moco", "barlow_twins", "vicreg")


def run_of(framework: str, method: str) -> Run:
    if method in GATES:
        return gated_run(framework, method, 1.5, epochs=EPOCHS)
    return tiny_run(framework, method, gap=0.3 if has_gap(method) else 0.0, epochs=EPOCHS)


def ended(run: Run, folder: Path, fabric: Fabric) -> dict[str, Any]:
    dataset, pair = trained_by(fabric, run, folder)
    statistics = {name: each for name, each in pair.framework.named_buffers() if "running_" in name}
    trained = tiny.ended(run, dataset, pair)
    names = ("mask_digest", "mask_digest_target", "loss_digest", "update_steps", "samples_seen", "curves")
    facts = {name: trained.facts[name] for name in names}
    # Not the running statistics: batch normalisation sees its own rank's images.
    weights = b"".join(weight.detach().numpy().tobytes() for weight in trained.encoder.parameters())
    digests = {"weights": hashlib.sha256(weights).hexdigest(), OWN: _digest(statistics)}
    return facts | digests | {"world_size": fabric.world_size}


def _digest(tensors: dict[str, Tensor]) -> str:
    return hashlib.sha256(b"".join(each.numpy().tobytes() for each in tensors.values())).hexdigest()


def trained_by(fabric: Fabric, run: Run, folder: Path) -> tuple[Dataset, Training]:
    dataset = dataset_of(run, folder / f"cache{fabric.global_rank}")
    path = folder / run.run_id / "checkpoint.pt"
    return dataset, loop.pretrain(run, dataset, path, fabric=fabric, tick=silent)


def gradients(framework: str, folder: Path, fabric: Fabric) -> list[list[float]]:
    """Return, for each step of a short dense run, the gradient of an encoder weight that the optimizer is given.

    The networks are in evaluation mode, so that batch normalisation asks for no other image, as on one rank.
    """
    found, make, optimizer_for = list[list[float]](), training_parts.framework_for, training_parts.optimizer_for

    def calm(run: Run, *, gather: bool) -> Framework:
        return make(run, gather=gather).eval()

    def watched(run: Run, framework: Framework) -> Optimizer:
        optimizer, weight = optimizer_for(run, framework), framework.online.get_parameter("conv1.weight")

        def keep(*_: object) -> None:
            assert weight.grad is not None
            found.append(weight.grad.flatten().tolist())

        optimizer.register_step_pre_hook(keep)
        return optimizer

    with patch.object(training_parts, "framework_for", calm), patch.object(training_parts, "optimizer_for", watched):
        trained_by(fabric, tiny_run(framework, "dense", epochs=1), folder)
    return found


@contextlib.contextmanager
def normalised_by_rank() -> Iterator[None]:
    """Let one process normalise Barlow Twins' embeddings as ranks do: each by the mean and deviation of its own images.

    Rank r takes images r, r + 2, ... of a batch.
    """
    whole = lightly.loss.barlow_twins_loss._normalize

    def by_rank(embeddings: Tensor) -> Tensor:
        parts = [whole(embeddings[rank::RANKS]) for rank in range(RANKS)]
        return torch.stack(parts, dim=1).flatten(0, 1)

    with patch.object(lightly.loss.barlow_twins_loss, "_normalize", by_rank):
        yield


def started_apart(run: Run, folder: Path, fabric: Fabric) -> str:
    """Return what is said of a start at which a single weight of the ranks differs."""
    make = training_parts.framework_for

    def drawn(run: Run, *, gather: bool) -> Framework:
        made = make(run, gather=gather)
        with torch.no_grad():
            made.online.get_parameter("conv1.weight")[0, 0, 0, 0] += fabric.global_rank
        return made

    with patch.object(training_parts, "framework_for", drawn):
        try:
            trained_by(fabric, run, folder)
        except TrainingError as error:
            return str(error)
    return "nothing"


def train(folder: Path, *cells: str) -> None:
    """Train cells; each rank writes what they ended with."""
    warnings.filterwarnings("error", message=".*_buffers", category=FutureWarning)  # DDP: options that will go
    torch.set_num_threads(1)
    runs = {cell: run_of(*cell.split("/")) for cell in cells}
    fabric = training_parts.fabric_for(next(iter(runs.values())), devices=RANKS)
    found: dict[str, Any] = {}
    for cell, run in runs.items():
        with patch.object(control, "SETTLING_ROUNDS", 2):  # what is done in them is the same each time
            found[cell] = ended(run, folder, fabric)
        both: list[Any] = [None] * RANKS
        torch.distributed.all_gather_object(both, found[cell])
        each_own = {rank.pop(OWN) for rank in both}
        if (
            both[0] != both[1] or len(each_own) != RANKS
        ):  # at once: ranks that went apart wait for each other for ever in a later run
            sys.exit(f"{cell}: the ranks ended apart: {both}")
        del found[cell][OWN]
    found["apart"] = started_apart(run, folder / "apart", fabric)
    (folder / f"rank{fabric.global_rank}.json").write_text(json.dumps(found))


def differentiate(folder: Path, *frameworks: str) -> None:
    """Write the gradients of short dense runs, which all ranks have."""
    torch.set_num_threads(1)
    fabric = training_parts.fabric_for(tiny_run("simclr", "dense"), devices=RANKS)
    found = {framework: gradients(framework, folder, fabric) for framework in frameworks}
    (folder / f"rank{fabric.global_rank}.json").write_text(json.dumps(found))
