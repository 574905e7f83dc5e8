"""Whatever is timed takes turns with what it is compared to, on one thread: A, B, A, C, A, ..., round after round.

A ratio is of one turn and the reference's turns right before and right after it, so that a machine that gets slower or
faster in between moves both. How far the reference's turns differ from each other says how much of a ratio is noise.
CPU seconds of the thread that works are disturbed less by other work on the machine than wall time; both are kept.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from scipy import stats

ROUNDS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A ratio of times, over the rounds.

    Attributes:
        median: of the rounds.
        low: lower end of the interval.
        high: upper end. Where there are at least six rounds, the interval holds the true median in 95 % of cases
            (order statistics, no assumption on the distribution); below, it is the range.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Ratio":
        """Return the ratio that values of single rounds are of."""
        ordered, skipped = sorted(values), int(stats.binom.ppf(0.025, len(values), 0.5))
        dropped = max(0, skipped - 1)
        return cls(median=statistics.median(ordered), low=ordered[dropped], high=ordered[-1 - dropped])


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How much faster something is than the reference.

    Attributes:
        seconds: CPU seconds that the work takes, the median.
        cpu: the reference's CPU time over its own; above 1 is faster.
        wall: the same of wall time.
    """

    seconds: float
    cpu: Ratio
    wall: Ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """What was measured in turns.

    Attributes:
        seconds: CPU seconds that the reference takes, the median.
        noise: the reference's turns over the next ones, CPU time: 1 and an interval without noise.
        of: name -> its speed.
    """

    seconds: float
    noise: Ratio
    of: Mapping[str, Speed]


@dataclass(frozen=True, slots=True)
class _Turn:
    cpu: float
    wall: float


def speeds(
    reference: Callable[[], object],
    others: Mapping[str, Callable[[], object]],
    *,
    rounds: int = ROUNDS,
    least_seconds: float = 0.0,
) -> Speeds:
    """Let everything take turns with the reference, on one thread, after a turn that is not timed.

    Args:
        reference: does the work that the others are compared with.
        others: name -> does the same work another way; at least one.
        rounds: how often; intervals need at least 6.
        least_seconds: a turn repeats the work as often as the reference needs to take so long, or the clock decides.
    """
    with one_thread():
        for work in (reference, *others.values()):
            work()
        times = 1 if least_seconds == 0.0 else max(1, math.ceil(least_seconds / _timed(reference, 1).cpu))
        references: list[list[_Turn]] = []
        turns: dict[str, list[_Turn]] = {name: [] for name in others}
        for _ in range(rounds):
            row = [_timed(reference, times)]
            for name, work in others.items():
                turns[name].append(_timed(work, times))
                row.append(_timed(reference, times))
            references.append(row)
    return Speeds(
        seconds=statistics.median(turn.cpu for row in references for turn in row),
        noise=Ratio.of([first.cpu / second.cpu for first, second in (row[:2] for row in references)]),
        of={
            name: Speed(
                seconds=statistics.median(turn.cpu for turn in found),
                cpu=_ratio(references, place, [turn.cpu for turn in found], lambda turn: turn.cpu),
                wall=_ratio(references, place, [turn.wall for turn in found], lambda turn: turn.wall),
            )
            for place, (name, found) in enumerate(turns.items())
        },
    )


def _ratio(
    references: Sequence[Sequence[_Turn]], place: int, found: Sequence[float], clock: Callable[[_Turn], float]
) -> Ratio:
    """Return the mean of the reference's turns before and after over the turn between them."""
    around = [(clock(row[place]) + clock(row[place + 1])) / 2 for row in references]
    return Ratio.of([reference / own for reference, own in zip(around, found, strict=True)])


def _timed(work: Callable[[], object], times: int) -> _Turn:
    cpu, wall = time.thread_time(), time.perf_counter()
    for _ in range(times):
        work()
    return _Turn((time.thread_time() - cpu) / times, (time.perf_counter() - wall) / times)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, as runs do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
