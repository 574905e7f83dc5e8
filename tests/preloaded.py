"""What the server of forks has ready: our modules, which code makes a run, and the digits. It starts no thread."""

import importlib
import pkgutil
from multiprocessing import spawn

import bench
import methods
from bench.data.digits import stand_in
from bench.sources import sources
from tests.forked import forget_another_tree

_PREPARE = spawn.prepare


def _prepared(data: dict[str, object]) -> None:
    """Give a fork the path of whoever starts it, who may run a mutated copy: before anything of ours is unpickled."""
    _PREPARE(data)
    forget_another_tree()


setattr(spawn, "prepare", _prepared)  # noqa: B010 - a function, which mypy keeps
for package in (bench, methods):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
stand_in()
sources()
