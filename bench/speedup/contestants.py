"""What the cost of a step is measured of: training loops that stop after some steps, and the bare work in one.

Times are CPU seconds of the thread that works, which other work on the machine disturbs less than it does wall time.
"""

import abc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from bench.config.run import Run
from bench.data.dataset import Dataset
from bench.frameworks import FRAMEWORKS, Framework, Wiring
from bench.ticks import Phase
from bench.training import encoders, loop, parts
from bench.training.batches import Batches

_BATCHES = 8  # that the bare work goes round


class Contestant(abc.ABC):
    """Something that takes optimizer steps."""

    @abc.abstractmethod
    def take(self, steps: int) -> float:
        """Take steps; return the CPU seconds of one."""

    def close(self) -> None:  # noqa: B027  # most hold nothing
        """Take no more. Nothing to do where nothing is held."""


@final
class Loop(Contestant):
    """The training loop as it is, in a thread that works only while it is asked to.

    Args:
        run: what it trains; it has more steps than will be asked for.
        dataset: its images.
        folder: gets a checkpoint when the loop is closed.
        compiles: whether the encoders train as ``torch.compile`` translates them.

    Raises:
        whatever stops the loop, when it is next asked for steps.
    """

    def __init__(self, run: Run, dataset: Dataset, folder: Path, *, compiles: bool = False) -> None:
        self._run, self._dataset, self._path = run, dataset, folder / f"{run.run_id}-{id(self)}.pt"
        self._compiles = compiles
        self._left, self._began, self._spent, self._is_closed = 0, 0.0, 0.0, False
        self._asked, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def take(self, steps: int) -> float:
        """Take steps; return the CPU seconds of one. What comes before the first step counts to it."""
        self._left = steps
        self._hand_over()
        if self._error is not None:
            raise self._error
        return self._spent / steps

    def close(self) -> None:
        """Stop the loop, and wait until it has."""
        self._is_closed = True
        if self._thread.is_alive():
            self._asked.release()
            self._thread.join()

    def _hand_over(self) -> None:
        self._asked.release()
        self._done.acquire()

    def _work(self) -> None:
        torch.set_num_threads(1)  # which threads have each for itself
        self._asked.acquire()
        self._began = time.thread_time()
        try:
            loop.pretrain(
                self._run,
                self._dataset,
                self._path,
                fabric=parts.fabric_for(self._run),
                tick=self._tick,
                checkpoint_seconds=float("inf"),
                compiles=self._compiles,
            )
        except KeyboardInterrupt:  # ours, from the tick
            pass
        except BaseException as error:  # noqa: BLE001  # raised again where steps are asked for
            self._error = error
        self._done.release()

    def _tick(self, _done: int, _total: int, phase: Phase = "training", /) -> None:
        if phase != "training":
            return
        self._left -= 1
        if self._left == 0:
            self._spent = time.thread_time() - self._began
            self._done.release()
            self._asked.acquire()
            if self._is_closed:
                raise KeyboardInterrupt
            self._began = time.thread_time()


@final
class Bare(Contestant):
    """Forward and backward of a run's model, without masks, on batches that are there; and the optimizer's step.

    Args:
        run: whose model, batches, optimizer and precision it has; dense.
        dataset: its images.
        has_optimizer: whether it takes the optimizer's step, too.
    """

    def __init__(self, run: Run, dataset: Dataset, *, has_optimizer: bool) -> None:
        self._fabric = parts.fabric_for(run)
        batches = Batches(run, dataset, self._fabric)
        self._batches = [batches.of(step, 0) for step in range(_BATCHES)]
        self._micro = run.optimizer.accumulate_batches
        self._framework = _plain(run)
        self._optimizer = parts.optimizer_for(run, self._framework)
        self._has_optimizer = has_optimizer
        self._next = self._endless()

    def take(self, steps: int) -> float:
        """Take steps; return the CPU seconds of one."""
        began = time.thread_time()
        for _ in range(steps):
            for _ in range(self._micro):
                with self._fabric.autocast():
                    loss = self._framework.loss(*next(self._next))
                loss.backward()
            if self._has_optimizer:
                self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        return (time.thread_time() - began) / steps

    def _endless(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        while True:
            yield from self._batches


@final
class ViewsAlone(Contestant):
    """The views of a run's batches, and nothing else.

    Args:
        run: whose batches they are.
        dataset: its images.
    """

    def __init__(self, run: Run, dataset: Dataset) -> None:
        self._batches, self._step = Batches(run, dataset, parts.fabric_for(run)), 0
        self._micro = run.optimizer.accumulate_batches

    def take(self, steps: int) -> float:
        """Make the views of steps; return the CPU seconds of one step's."""
        began = time.thread_time()
        for _ in range(steps):
            for micro in range(self._micro):
                self._batches.of(self._step, micro)
            self._step += 1
        return (time.thread_time() - began) / steps


def _plain(run: Run) -> Framework:
    """Return a run's framework on an encoder that never had masks; with LARS, which asks for them, on one that has."""
    if run.optimizer.name == "lars":
        return parts.framework_for(run).to(memory_format=torch.channels_last)
    return unmasked(run)


def unmasked(run: Run) -> Framework:
    """Return a run's framework on an encoder that never had masks."""
    torch.manual_seed(run.seed)
    encoder, features = encoders.build(run.encoder)
    framework = FRAMEWORKS[run.framework.name](encoder, features, run.framework, Wiring())
    return framework.to(memory_format=torch.channels_last)
