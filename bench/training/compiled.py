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
    as one that grows weights does, is computed as ever too: its hooks, which no translation can hold, are put on in
    the forward pass. A gate that draws noise interrupts the translation; what lies between is translated.

    Args:
        branches: the pair.
        enabled: whether anything is compiled.
    """

    def __init__(self, branches: Branches, *, enabled: bool) -> None:
        pair = (branches.online, branches.target) if enabled else ()
        self._calls: dict[nn.Module, Any] = {encoder: _translated(encoder) for encoder in dict.fromkeys(pair)}

    @contextlib.contextmanager
    def engaged(self) -> Iterator[None]:
        """Compute so within the block."""
        if any(masking.is_watched(encoder) for encoder in self._calls):
            yield
            return
        # torch offers no way to take a module's translation away again; a copy of the module has none.
        for encoder, call in self._calls.items():
            encoder._compiled_call_impl = call  # noqa: SLF001
        try:
            yield
        finally:
            for encoder in self._calls:
                encoder._compiled_call_impl = None  # noqa: SLF001


def _translated(encoder: nn.Module) -> Any:
    # Sizes of images differ between the steps of a control at most: a kernel for each is faster than one for all.
    return torch.compile(encoder._call_impl, dynamic=False, **HOW)  # noqa: SLF001 - as `Module.compile` does
