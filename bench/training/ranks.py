"""What the ranks of one run must agree on, and what each has for itself.

A run on several ranks is data-parallel (DDP): each rank has the whole network and its share of every batch. Sharded
parameters (FSDP) are out: they save memory from about a billion weights on, where these encoders have 11 to 23 million;
and masks, EMA targets and layer-wise learning rates need whole weights.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed

from bench.frameworks import Framework
from bench.training import checkpoint
from bench.training.state import Training, TrainingError, owned
from methods.gating.layer import gated

_MASK = ".mask"  # equal on all ranks, so that rank 0's do
_EACH = "ranks"  # the key of what each rank has for itself


def size() -> int:
    """Return how many ranks make this run."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return 1


def agreed(flag: bool) -> bool:  # noqa: FBT001 - what is asked of every rank
    """Return whether any rank says so: clocks and signals differ from rank to rank, and all must do the same."""
    if size() == 1:
        return flag
    said = torch.tensor(int(flag), device=_device())
    torch.distributed.all_reduce(said, op=torch.distributed.ReduceOp.MAX)
    return bool(said)


def require_one_start(framework: Framework) -> None:
    """Demand that all ranks have built the same weights and masks. All ranks must call it, before DDP is set up.

    Raises:
        TrainingError: they differ, which DDP would hide: it gives all ranks what rank 0 has.
    """
    if size() == 1:
        return
    digest = hashlib.sha256()
    for name, tensor in sorted(owned(framework).items()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    each: list[Any] = [None] * size()
    torch.distributed.all_gather_object(each, digest.hexdigest())
    apart = [str(rank) for rank, found in enumerate(each) if found != each[0]]
    if apart:
        raise TrainingError(
            f"rank {', '.join(apart)}: weights or masks at the start are not those of rank 0, though the seed is the "
            "same: the processors draw or rank numbers differently. Start all ranks on machines of one kind."
        )


def whole(training: Training) -> checkpoint.State | None:
    """Return the state with that of every rank; on rank 0, where it is saved. All ranks must call it.

    Running statistics, queues and tallies are each rank's own, as each sees other images.
    """
    state = training.state()
    if size() == 1:
        return state
    each: list[Any] = [None] * size()
    torch.distributed.all_gather_object(each, _own(training, state))
    return state | {_EACH: each} if torch.distributed.get_rank() == 0 else None


def of_this_rank(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a checkpoint's state as this rank left it.

    A checkpoint of fewer ranks is shared out anew: the run goes on, and its record names both environments.
    """
    each = state.get(_EACH)
    if not each:
        return state
    own = each[torch.distributed.get_rank() % len(each) if size() > 1 else 0]
    return {**state, **own, "framework": {**state["framework"], **own["framework"]}}


def joined(training: Training) -> None:
    """Let the tallies of gates count the images of all ranks; all ranks must call it, once training has ended."""
    if size() == 1:
        return
    framework = training.framework
    for layer in {id(each): each for branch in framework.branches.learners for each in gated(branch).values()}.values():
        torch.distributed.all_reduce(layer.tally)


def _own(training: Training, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what this rank alone knows, on the CPU."""
    names = {name for name, _ in training.framework.named_buffers() if not name.endswith(_MASK)}
    buffers = {name: tensor.cpu() for name, tensor in owned(training.framework).items() if name in names}
    others = {name: state[name] for name in ("method", "random")}
    return {"framework": buffers, "buffers": {name: each.cpu() for name, each in state["buffers"].items()}, **others}


def _device() -> torch.device:
    """Return where the ranks' messages must lie."""
    if torch.distributed.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
