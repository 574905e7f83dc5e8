"""One group of rows, simulated cycle by cycle: queues are emptied, data marches, results are really computed.

Nothing here knows a formula of ``hardware``; each toy returns the cycles it took and the product it found.
Weights are integers of shape (rows, channels, kernel positions), inputs of shape (channels, kernel positions).
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def elements(weights: Integers, inputs: Integers, lanes: int, barrier_tiles: int) -> tuple[int, Integers]:
    """Every multiplier (row, lane) has a queue per window; all wait at the barrier."""
    rows, channels, kernel = weights.shape
    tiles = [(tap, start) for tap in range(kernel) for start in range(0, channels, lanes)]
    cycles, sums = 0, np.zeros(rows, np.int64)
    for first in range(0, len(tiles), barrier_tiles):
        queues: dict[tuple[int, int], deque[int]] = {}
        for tap, start in tiles[first : first + barrier_tiles]:
            for lane, channel in enumerate(range(start, min(start + lanes, channels))):
                for row in range(rows):
                    if weights[row, channel, tap]:
                        product = int(weights[row, channel, tap] * inputs[channel, tap])
                        queues.setdefault((row, lane), deque()).append(product)
        while any(queues.values()):
            cycles += 1
            for (row, _), queue in queues.items():
                if queue:
                    sums[row] += queue.popleft()
    return cycles, sums


def compacted_blocks(weights: Integers, inputs: Integers, lanes: int, block: tuple[int, int]) -> tuple[int, Integers]:
    """At each kernel position a row consumes ``lanes`` values per cycle of its non-zero blocks; rows wait."""
    rows, channels, kernel = weights.shape
    cycles, sums = 0, np.zeros(rows, np.int64)
    for tap in range(kernel):
        queues = [deque[int]() for _ in range(rows)]
        for row in range(rows):
            top = row // block[0] * block[0]
            for left in range(0, channels, block[1]):
                if weights[top : top + block[0], left : left + block[1], tap].any():
                    queues[row].extend(range(left, left + block[1]))
        while any(queues):
            cycles += 1
            for row, queue in enumerate(queues):
                for _ in range(min(lanes, len(queue))):
                    channel = queue.popleft()
                    sums[row] += weights[row, channel, tap] * inputs[channel, tap]
    return cycles, sums


def n_of_m(
    weights: Integers, inputs: Integers, lanes: int, pattern: tuple[int, int], *, by_lane: bool
) -> tuple[int, Integers]:
    """A tile's row is fetched as n slots per group if it conforms (or all rows do), else as it is."""
    n, m = pattern
    rows, channels, kernel = weights.shape
    cycles, sums = 0, np.zeros(rows, np.int64)
    for tap in range(kernel):
        queues = [deque[int]() for _ in range(rows)]
        for start in range(0, channels, lanes):
            groups = [range(left, left + m) for left in range(start, start + lanes, m)]
            full = [any(np.count_nonzero(weights[row, group, tap]) > n for group in groups) for row in range(rows)]
            for row in range(rows):
                is_dense = full[row] if by_lane else any(full)
                for group in groups:
                    kept = [channel for channel in group if weights[row, channel, tap]]
                    slots = list(group) if is_dense else kept + [-1] * (n - len(kept))
                    queues[row].extend(slots)
        while any(queues):
            cycles += 1
            for row, queue in enumerate(queues):
                for channel in [queue.popleft() for _ in range(min(lanes, len(queue)))]:
                    if channel >= 0:
                        sums[row] += weights[row, channel, tap] * inputs[channel, tap]
    return cycles, sums


def output_stationary(left: Integers, right: Integers) -> tuple[int, Integers]:
    """M x K times K x N on M x N cells: operands march right and down, skewed; the first cycle is number 1."""
    (height, depth), width = left.shape, right.shape[1]
    sums = np.zeros((height, width), np.int64)
    from_left, from_top = (np.zeros((height, width), np.int64) for _ in range(2))
    used = np.zeros((height, width), np.int64)
    valid = np.zeros((height, width), np.bool_)
    cycles = 0
    while used.min() < depth:
        for register in (from_left, valid):
            register[:, 1:] = register[:, :-1].copy()
        from_top[1:] = from_top[:-1].copy()
        for row in range(height):
            step = cycles - row
            valid[row, 0] = 0 <= step < depth
            from_left[row, 0] = left[row, step] if valid[row, 0] else 0
        for column in range(width):
            step = cycles - column
            from_top[0, column] = right[step, column] if 0 <= step < depth else 0
        sums += np.where(valid, from_left * from_top, 0)
        used += valid
        cycles += 1
    return cycles, sums


def weight_stationary(left: Integers, right: Integers) -> tuple[int, Integers]:
    """M x K times K x N on K x N cells that hold ``right``: a row of weights loads per cycle, then inputs march."""
    pictures, (depth, width) = len(left), right.shape
    results = np.zeros((pictures, width), np.int64)
    partial, inputs = np.zeros((depth, width), np.int64), np.zeros((depth, width), np.int64)
    owner = np.full((depth, width), -1)
    cycles, missing = depth, pictures * width
    while missing:
        step = cycles - depth
        inputs[:, 1:], owner[:, 1:] = inputs[:, :-1].copy(), owner[:, :-1].copy()
        for row in range(depth):
            picture = step - row
            owner[row, 0] = picture if 0 <= picture < pictures else -1
            inputs[row, 0] = left[picture, row] if owner[row, 0] >= 0 else 0
        above = np.vstack([np.zeros((1, width), np.int64), partial[:-1]])
        partial = above + inputs * right
        for column in np.flatnonzero(owner[-1] >= 0):
            results[owner[-1, column], column] = partial[-1, column]
            missing -= 1
        cycles += 1
    return cycles, results
