"""Random numbers that depend on a seed and a step: not on the global state, nor on what was drawn in other steps."""

import hashlib

import torch
import torch.distributed


def at_step(seed: int, step: int) -> torch.Generator:
    """Return a generator for what is drawn at one step, the same on all ranks and devices: no state has to be kept."""
    digest = hashlib.sha256(f"growth/{seed}/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class StepNoise:
    """Noise of the forward passes, drawn on their own device, anew in every step: a resumed run draws the same.

    Each rank has its own. On an accelerator the generator counts (Philox): its seed is a key, so that steps share no
    numbers, and neither seeding nor drawing copies or waits. Devices of other kinds draw other numbers.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._generator: torch.Generator | None = None

    def at(self, step: int, total_steps: int, device: torch.device) -> torch.Generator:
        """Return the generator of a step, which its passes share, one behind the other.

        Args:
            step: counted from 0.
            total_steps: of the run.
            device: on which to draw.
        """
        if self._generator is None or self._generator.device != device:
            self._generator = torch.Generator(device)
        rank, ranks = 0, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
        return self._generator.manual_seed((self._seed * total_steps + step) * ranks + rank)
