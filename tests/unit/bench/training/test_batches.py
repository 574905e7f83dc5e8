"""What a rank is fed: its share of every micro-batch, and how much of a machine it may take."""

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.training import batches
from bench.training.batches import Batches
from bench.views.batched import BatchedViews
from tests.tiny import dataset_of, tiny_run


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_share_out_every_micro_batch_in_the_order_of_the_epoch(
    ranks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run("supervised", "dense", epochs=2)
    run = dataclasses.replace(run, optimizer=dataclasses.replace(run.optimizer, batch_images=4, accumulate_batches=2))
    images, seen = dataset_of(run, tmp_path), list[tuple[int, list[int]]]()

    def views(_: BatchedViews, given: Tensor, samples: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        assert torch.equal(given, images.train.images[samples])
        seen.append((epoch, samples.tolist()))
        return given.float(), given.float()

    monkeypatch.setattr(BatchedViews, "views", views)
    order = list[list[tuple[int, int]]]()
    for rank in range(ranks):
        fabric: Any = SimpleNamespace(global_rank=rank, world_size=ranks, device=torch.device("cpu"))
        fed = Batches(run, images, fabric)
        seen.clear()
        for step in range(fed.total_steps):
            for micro in range(2):
                *_, labels = fed.of(step, micro)
                assert torch.equal(labels, images.train.labels[seen[-1][1]])
        order.append([(epoch, sample) for epoch, samples in seen for sample in samples])
    whole = [each for turn in zip(*order, strict=True) for each in turn]
    epochs = [[sample for epoch, sample in whole if epoch == each] for each in (0, 1)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(32))] * 2
    assert whole == [(epoch, sample) for epoch in (0, 1) for sample in epochs[epoch]]
    one: Any = SimpleNamespace(global_rank=0, world_size=1, device=torch.device("cpu"))
    seen.clear()
    alone = Batches(run, images, one)
    assert [sample for _, sample in whole[8:12]] == [alone.of(1, 0), seen[-1][1]][1]  # whatever the ranks


@pytest.mark.parametrize(("cores", "ranks", "workers"), [(12, 3, 4), (100, 2, 16), (1, 4, 1), (16, 1, 16)])
def test_ranks_share_the_cores_of_their_machine(
    cores: int, ranks: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)) if process == 0 else set())
    assert batches._workers(ranks) == workers


def test_images_stay_on_an_accelerator_up_to_a_quarter_of_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (4_000, 100_000))
    fits = [batches._fits(torch.empty(count, dtype=torch.uint8), torch.device("cuda")) for count in (1_000, 1_001)]
    assert fits == [True, False]
