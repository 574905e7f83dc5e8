"""Random numbers that depend on a seed and a step alone: not on the global state, the device or the rank."""

import hashlib

import torch


def at_step(seed: int, step: int) -> torch.Generator:
    """Return a generator for what is drawn at one step, so that no state has to be kept between steps."""
    digest = hashlib.sha256(f"growth/{seed}/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
