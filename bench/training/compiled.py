"""Encoders that ``torch.compile`` has translated: fewer launches and passes over memory in a training step."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from bench.config.run import Run
from bench.errors import RunError
from methods import masking
from methods.branches import Branches

# What each compiled encoder is translated by. Kernels that are chosen by timing them would differ from run to run.
HOW: dict[str, Any] = {"backend": "inductor", "options": {"deterministic": True}}
# torch translates a function for 8 modules unless told otherwise, and computes as ever for others, saying nothing. All
# encoders of a process share theirs; one that is translated in pieces has one for each layer. Beyond: an error.
LIMITS = {"recompile_limit": 256, "accumulated_recompile_limit": 1024, "fail_on_recompile_limit_hit": True}


def require(run: Run) -> None:
    """Demand that the encoders of a run can be compiled.

    Raises:
        RunError: the run goes on in a smaller network, whose forward pass is another one.
    """
    if run.sparsity.compact_training:
        raise RunError(
            f"{run.cell}: --compile translates the encoder once, and --compact-training changes it on the way. Leave "
            "one of the two out."
        )


class Compiled:
    """Lets both encoders of a pair run as ``torch.compile`` translates them, in the losses of optimizer steps alone.

    What comes between the steps, and what is exported and scored, is computed as ever. A step that watches gradients,
    as one that grows weights does, is computed as ever too, so that an encoder is translated once. A gate that
    draws noise interrupts the translation; what lies between is translated.

    Args:
        branches: the pair.
        enabled: whether anything is compiled.
    """

    def __init__(self, branches: Branches, *, enabled: bool) -> None:
        pair = (branches.online, branches.target) if enabled else ()
        # Sizes of images differ between the steps of a control at most: a kernel for each is faster than one for all.
        self._forwards: dict[nn.Module, Any] = {
            encoder: torch.compile(encoder.forward, dynamic=False, **HOW) for encoder in dict.fromkeys(pair)
        }

    @contextlib.contextmanager
    def engaged(self) -> Iterator[None]:
        """Compute so within the block."""
        if not self._forwards or any(masking.is_watched(encoder) for encoder in self._forwards):
            yield
            return
        from torch import _dynamo  # noqa: PLC0415  # seconds; torch documents its settings under this name

        for encoder, forward in self._forwards.items():
            encoder.__dict__["forward"] = forward  # before the class's, as in compact training
        try:
            with _dynamo.config.patch(LIMITS):
                yield
        finally:
            for encoder in self._forwards:
                del encoder.__dict__["forward"]
