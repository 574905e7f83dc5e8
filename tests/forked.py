"""Processes that start in a moment: forks of one server, which has imported what is heavy, and our modules.

A new interpreter imports torch and Lightly for ten seconds before it reaches a line of ours. A fork of the server has
them, forgets our modules if those of another tree come first on its path, and is else a process like any other:
killed, interrupted, failing.
"""

import contextlib
import gc
import importlib.machinery
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Self

import psutil

HEAVY = [
    "torch",
    "torch.distributed",
    "torchvision.datasets",
    "sklearn.linear_model",
    "sklearn.datasets",
    "scipy.stats",
    "lightly.models",
    "lightly.loss",
    "lightly.transforms",
    "lightly.utils.benchmarking.knn",
    "lightning_fabric",
    "matplotlib.figure",
    "hypothesis.strategies",
    "pytest",
    "rich.console",
    "cattrs",
    "filelock",
    "safetensors.torch",
    "tyro",
]
OURS = ("reading", "bench", "methods", "hardware", "tests")
STREAMS = ("stdout", "stderr")
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([*HEAVY, "tests.preloaded"])


class Fork(ForkServerProcess):
    """A child that is the server's, and yet has the environment, signals and group of whoever starts it."""

    def __init__(self, *, target: Callable[..., object], args: Iterable[Any]) -> None:
        """Take what to call."""
        super().__init__()
        self._act = target, tuple(args)

    def start(self) -> None:
        """Start it, as things are now."""
        deaf = signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:  # a server that is born deaf, as workers are, has deaf children: ranks that do not hear when to stop
            forkserver._forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, deaf)
        self._starter = dict(os.environ), deaf, os.getpgrp()
        super().start()

    def run(self) -> None:
        """Be the child."""
        _become(*self._starter)
        target, args = self._act
        target(*args)


class Forks:
    """What stands for multiprocessing's ``spawn`` context in tests."""

    Process = Fork

    @staticmethod
    def Pipe() -> tuple[Connection, Connection]:  # noqa: N802 - multiprocessing's name
        """Return the two ends of a pipe."""
        return multiprocessing.Pipe()


def _become(environment: Mapping[str, str], deaf: Iterable[int], group: int) -> None:
    """Become what a child of another process than the server would be."""
    gc.freeze()  # a collection need not look at what the server imported
    try:
        os.setpgid(0, group)
    except PermissionError:  # the group was killed while this was forked: there is nobody left to work for
        os._exit(1)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in environment
    sys.pycache_prefix = environment.get("PYTHONPYCACHEPREFIX")
    signal.pthread_sigmask(signal.SIG_SETMASK, deaf)
    # CPython lets descendants share the server, and starts one more nevertheless: there is one, at the known address.
    setattr(forkserver._forkserver, "ensure_running", lambda: None)  # noqa: B010 - a method, which mypy keeps


def forget_another_tree() -> None:
    """Forget our modules if the path has others of their names first: those of a mutated copy."""
    first = importlib.machinery.PathFinder.find_spec("bench")
    loaded = sys.modules.get("bench")
    if first is None or loaded is None or first.origin == loaded.__file__:
        return
    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]


class Running:
    """A command in a process group of its own, with the names of ``subprocess.Popen``."""

    def __init__(
        self,
        target: Callable[..., object],
        *args: Any,
        output: Path,
        environment: Mapping[str, str] | None = None,
        place: Path | None = None,
    ) -> None:
        """Start it.

        Args:
            target: what to call; its process ends with what ``sys.exit`` is told.
            args: its arguments.
            output: a folder for what it writes to the two standard streams.
            environment: variables, instead of this process's.
            place: its working directory, and the first place where it looks for modules; this process's if None.
        """
        output.mkdir(parents=True, exist_ok=True)
        self._streams = tuple(output / f"{name}.txt" for name in STREAMS)
        variables = dict(os.environ if environment is None else environment)
        self._process = _SERVER.Process(target=_command, args=(variables, self._streams, place, target, args))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal's number if one ended it, None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def send_signal(self, number: int) -> None:
        """Send it alone a signal."""
        os.kill(self.pid, number)

    def workers(self) -> list[int]:
        """Return the other processes of its group, as far as they are this process's descendants."""
        group = []
        for each in psutil.Process().children(recursive=True):
            with contextlib.suppress(ProcessLookupError):
                group += [each.pid] if os.getpgid(each.pid) == self.pid != each.pid else []
        return group

    def kill_group(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to it and its workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def communicate(self, timeout: float = 600.0) -> tuple[str, str]:
        """Wait for its end, and return both its streams.

        Raises:
            TimeoutError: it did not end in time (in seconds), and was killed.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill_group()
            raise TimeoutError(f"no end after {timeout} s: {self._streams[1].read_text(encoding='utf-8')}")
        out, errors = (path.read_text(encoding="utf-8") for path in self._streams)
        return out, errors

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_group()
        self._process.join()


def _command(
    environment: Mapping[str, str],
    streams: tuple[Path, Path],
    place: Path | None,
    target: Callable[..., object],
    args: tuple[Any, ...],
) -> None:
    """Become a command of its own, and act."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until it can answer
    for number, path in zip((1, 2), streams, strict=True):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    if place is not None:
        os.chdir(place)
        sys.path.insert(0, str(place))
        forget_another_tree()
    _become(environment, (), os.getpgrp())
    target(*args)


def bench(*arguments: str) -> None:
    """Be ``python -m bench``, whose workers are forks, too."""
    from bench import __main__ as command  # noqa: PLC0415 - of the tree whose process this is
    from bench.lanes import local  # noqa: PLC0415 - as above

    local.NEW_PROCESSES = Forks  # type: ignore[assignment]  # a context by what it does, not by its class
    sys.argv = ["bench", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = command.main()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def until(condition: Callable[[], object], seconds: float = 300.0) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not come true in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s in vain")
        time.sleep(0.02)


def ranks(target: Callable[..., object], *args: Any, output: Path, seconds: float = 900.0) -> str:
    """Call a function in two ranks that torchrun's own agent starts, and return what they printed.

    Raises:
        AssertionError: one of them failed, with what it said.
        TimeoutError: they did not end in time.
    """
    with Running(_agent, output, target, args, output=output) as agent:
        _, errors = agent.communicate(timeout=seconds)
    printed, failed = ("".join(path.read_text() for path in sorted(output.rglob(f"{name}.log"))) for name in STREAMS)
    assert not agent.returncode, failed + errors
    return printed


def _agent(output: Path, target: Callable[..., object], args: tuple[Any, ...]) -> None:
    """Be torchrun, whose ranks are forks of the server, too."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std  # noqa: PLC0415 - here alone
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415 - as above

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id="tests",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="forkserver",
        logs_specs=DefaultLogsSpecs(log_dir=str(output), redirects=Std.ALL),
    )
    elastic_launch(config, target)(*args)
