"""What a linear probe is asked, and what one is."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from bench.data.dataset import Split
from bench.ticks import Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """How many queries can be told from an encoder's features? Nothing here is of the scored images but the queries.

    Attributes:
        encoder: exported.
        train: pictures and classes ``[N]`` to learn from.
        bank: features ``[N, F]`` of the un-augmented train pictures.
        queries: features ``[Q, F]`` of the un-augmented scored pictures.
        labels: classes ``[Q]`` of the queries, to count with.
        seed: of the run.
        tick: called after every batch that the encoder sees.
    """

    encoder: nn.Module
    train: Split
    bank: Tensor
    queries: Tensor
    labels: Tensor
    seed: int
    tick: Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A linear classifier on the features of a frozen encoder.

    Attributes:
        protocol: what it does, in a line; records hold it.
        correct: returns how many queries it classifies correctly.
    """

    protocol: str
    correct: Callable[[Question], int]
