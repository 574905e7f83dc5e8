"""One of two gloo ranks: train every method with rank-dependent seeds and data, write down the digests of each step.

The last entry repeats one method with the reduction of the dense gradient switched off: that mutation must be visible.
"""

import json
from pathlib import Path
from unittest import mock

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

from methods import METHODS, masking
from methods.branches import Branches
from tests.strategies import branches, images, loss_of, setting_of, takes

TOTAL = 6
# Each method in one kind of pair, now of shared weights, now of an average: both kinds many times over.
TAKEN = {name: [tied for tied in (False, True) if takes(name, tied=tied)] for name in METHODS}
CELLS = [(name, tied[index % len(tied)]) for index, (name, tied) in enumerate(TAKEN.items())]


class Framework(nn.Module):
    """What DDP wraps: both branches behind one forward."""

    def __init__(self, pair: Branches) -> None:
        super().__init__()
        self.online, self.target = pair.online, pair.target
        self.pair = pair
        if not pair.tied:
            self.target.requires_grad_(requires_grad=False)

    def forward(self, views: Tensor) -> Tensor:
        return loss_of(self.pair, views)


def digests(name: str, rank: int, *, tied: bool) -> list[str]:
    pair = branches(tied=tied)
    torch.manual_seed(1000 + rank)
    method = METHODS[name](setting_of(name))
    method.attach(pair, TOTAL)  # it may give a branch parameters of its own
    # Nothing is broadcast when it is set up either: that would hide masks that differ from the start.
    wrapped = DistributedDataParallel(Framework(pair), forward_sync_buffers=False, init_sync=False)
    optimizer = SGD(pair.online.parameters(), lr=0.1, momentum=0.9)
    data = torch.Generator().manual_seed(2000 + rank)
    seen = []
    for step in range(TOTAL):
        method.before_forward(step)
        with wrapped.no_sync():
            (wrapped(images(data, 8)) + method.penalty()).backward()
        (wrapped(images(data, 8)) + method.penalty()).backward()
        if method.on_gradient(step, optimizer):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        method.on_step(step)
        seen.append(masking.digest(pair.online) + masking.digest(pair.target))
    return seen


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    result = {f"{name} {'tied' if tied else 'EMA'}": digests(name, rank, tied=tied) for name, tied in CELLS}
    with mock.patch("torch.distributed.all_reduce"):
        result["mutation"] = digests("synchronized", rank, tied=False)
    torch.distributed.destroy_process_group()
    (folder / f"rank{rank}.json").write_text(json.dumps(result))
