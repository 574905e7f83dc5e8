"""The stored workloads: their names, the runs behind them, and where they lie. Reading them needs no torch."""

from collections.abc import Iterator
from pathlib import Path

from bench.config.profiles import PROFILES
from bench.config.run import Run
from bench.config.sparsity import SparsitySpec
from bench.files import ROOT
from hardware.checks import HardwareError

WORKLOADS = ROOT / "results" / "workloads"
TRACED = ("smoke", "cpu", "paper")  # profiles; gpu has the networks of paper, in other batches


def named(name: str) -> Run:
    """Return the dense run behind a stored workload, ``PROFILE-FRAMEWORK``.

    Raises:
        HardwareError: if there is no such profile or framework.
    """
    profile, _, framework = name.partition("-")
    if profile not in TRACED or framework not in PROFILES[profile].recipes:
        raise HardwareError(f"no workload {name!r}: choose from {', '.join(names())}.")
    return PROFILES[profile].run(framework, SparsitySpec(method="dense"), "cifar10")


def names() -> Iterator[str]:
    """Yield the names of all workloads that can be stored."""
    for profile in TRACED:
        yield from (f"{profile}-{framework}" for framework in PROFILES[profile].recipes)


def path_of(name: str, folder: Path = WORKLOADS) -> Path:
    """Return where a stored workload lies."""
    return folder / f"{name}.json"
