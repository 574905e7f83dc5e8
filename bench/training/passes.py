"""Progress of what is not training: every batch that an encoder sees is told."""

import contextlib
import itertools
from collections.abc import Iterator

from torch import nn

from bench.ticks import Phase, Tick


@contextlib.contextmanager
def told(encoder: nn.Module, tick: Tick, phase: Phase, total: int = 0) -> Iterator[None]:
    """Call ``tick`` before the first and after each forward pass of ``encoder``; no number changes.

    Args:
        encoder: what is watched.
        tick: may raise ``KeyboardInterrupt``; the pass is then the last.
        phase: what the passes are for.
        total: passes that will be made; 0 if nobody knows.
    """
    count = itertools.count(1)
    tick(0, total, phase)
    hook = encoder.register_forward_hook(lambda *_: tick(next(count), total, phase))
    try:
        yield
    finally:
        hook.remove()
