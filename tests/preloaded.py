"""What the server of forks has ready: our modules, which code makes a run, and the digits. It starts no thread."""

import importlib
import pkgutil

import bench.commands
import bench.runs.job
from bench.data.digits import stand_in
from bench.sources import sources

for module in pkgutil.walk_packages(bench.__path__, "bench."):
    importlib.import_module(module.name)
stand_in()
sources()
