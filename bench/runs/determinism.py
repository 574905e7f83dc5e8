"""What makes one seed give identical bits in one environment."""

import os

import torch


def be_deterministic() -> None:
    """Choose deterministic algorithms for this process; before its first computation on a GPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, CUDA refuses deterministic algorithms
    torch.use_deterministic_algorithms(mode=True)
    # The mode also fills every new tensor with NaN, to show reads of memory nobody wrote: a sixth of a step here.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # torch has no stub of it
