"""On a device, runs mix no places, and a step waits for nothing that it need not: a budget of host syncs."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from bench.config.run import Run
from bench.training import checkpoint, loop, parts
from bench.training.state import Training
from methods import GATES
from tests.end_to_end.test_paper_parts import with_paper_parts
from tests.tiny import dataset_of, gated_run, tiny_run
from tests.virtual_device import CUDA, Counts, MixedDevices, OnDevice, virtual_cuda

SYNCS_OF_WEIGHTS, SYNCS_OF_GATES = 2, 6  # of a step on which no mask and no knob moves
COPIES = 4  # of a step, from the host: labels' places, views' parameters and rows
PAIRS = (
    ("simclr", "synchronized"),
    ("byol", "rigl"),
    ("moco", "gradual"),
    ("simclr", "dual_gate"),
    ("byol", "channel_gate"),
)


class OneDevice:
    """What the loop asks of Fabric, with the virtual device."""

    device, world_size, global_rank, is_global_zero = CUDA, 1, 0, True

    def setup(self, module: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        module.mark_forward_method = lambda _: None  # type: ignore[assignment]
        return module, optimizer

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def no_backward_sync(self, _module: nn.Module, *, enabled: bool) -> Iterator[None]:
        del enabled
        yield

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def all_reduce(self, tensor: Tensor) -> Tensor:
        return tensor


def on_host(state: Any) -> Any:
    """Return what a checkpoint gives back: it is read into the host's memory, wherever it was written from."""
    return tree_map(lambda each: each.held.detach().clone() if isinstance(each, OnDevice) else each, state)


def quiet_steps(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Counts]:
    """Train a run on the virtual device, in two parts; return what each step did on which no mask and no knob moved.

    Not of the first of each part, before which everything is put on the device, nor of those behind which masks are
    noted.
    """
    save = checkpoint.save

    def saved(path: Path, run: Run, data_fingerprint: str, env_class: str, state: checkpoint.State) -> None:
        save(path, run, data_fingerprint, env_class, on_host(state))

    monkeypatch.setattr(checkpoint, "save", saved)
    monkeypatch.setattr(parts, "env_class_for", lambda *_: "virtual")
    images, steps, firsts = dataset_of(run, folder / "cache"), list[Counts](), list[int]()
    half = run.total_steps(len(images.train.images)) // 2
    with virtual_cuda() as counts:
        before = counts.now()

        def tick(done: int, _total: int, phase: str = "training", /) -> None:
            nonlocal before
            if phase == "training":
                steps.append(counts.since(before))
                if done == half:
                    raise KeyboardInterrupt
                before = counts.now()

        def train() -> Training:
            fabric: Any = OneDevice()
            firsts.append(len(steps))
            path = folder / "checkpoint.pt"
            return loop.pretrain(run, images, path, fabric=fabric, tick=tick, checkpoint_seconds=1e9)

        with pytest.raises(KeyboardInterrupt):
            train()
        trained = train()
    assert all(isinstance(each, OnDevice) for each in trained.framework.parameters())
    assert firsts == [0, half]
    assert len(steps) == trained.step
    updates = trained.method.facts().update_steps
    assert min(updates) < half < max(updates)
    moved = {*firsts, *updates}
    return [each for step, each in enumerate(steps) if step not in moved and "numpy" not in each.syncs]


@pytest.mark.parametrize(("framework", "method"), PAIRS)
def test_a_step_waits_for_the_device_as_seldom_as_it_may(
    framework: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_gated = method in GATES
    gap = 0.3 if method == "synchronized" else 0.0
    run = gated_run(framework, method, 1.5) if is_gated else tiny_run(framework, method, gap=gap)
    if framework == "simclr":
        run = dataclasses.replace(run, optimizer=with_paper_parts(run).optimizer)  # LARS
    steps = quiet_steps(run, tmp_path, monkeypatch)
    allowed = SYNCS_OF_GATES if is_gated else SYNCS_OF_WEIGHTS
    assert 1 <= max(step.syncs.total() for step in steps) <= allowed, steps
    assert max(step.copies.total() for step in steps) <= COPIES, steps
    assert min(step.launches for step in steps) > 100


def test_the_virtual_device_refuses_and_counts() -> None:
    """So that the tests above see what they are for."""
    with virtual_cuda() as counts:
        there, here = torch.ones(3, device=CUDA), torch.ones(3)
        assert (there.device, there.is_cuda) == (CUDA, True)
        with pytest.raises(MixedDevices, match=r"tensors of cuda:0 and of the host"):
            there + here
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert isinstance(there * torch.tensor(2.0), OnDevice)  # a number of no dimension, as CUDA takes it
        assert not counts.syncs
        assert float(there.sum()) == 3.0
        assert there[there > 0].tolist() == [1.0, 1.0, 1.0]
        there.cpu()
        assert +counts.syncs == {"item": 1, "index by a mask": 1, "tolist": 1, "copy to the host": 1}
        here.to(CUDA)
        there.copy_(here)
        assert +counts.copies == {"to": 1, "copy_": 1}
        layer = nn.Linear(3, 2).to(CUDA)
        layer(there).sum().backward()
        assert isinstance(layer.weight.grad, OnDevice)
