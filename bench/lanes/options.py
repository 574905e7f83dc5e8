"""The options of a lane: what a cluster has to know, in a TOML file of the user's."""

import tomllib
from pathlib import Path
from typing import Any

from bench.errors import UsageError


def read_options(path: Path | None) -> dict[str, Any]:
    """Return the options of a lane, from a TOML file.

    Raises:
        UsageError: there is no such file, or it is no TOML.
    """
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--lane-options {path}: not a readable TOML file ({error}). It holds width, the runs under way at once; "
            'for --lane slurm what submitit\'s executor takes, e.g. slurm_partition = "gpu", gpus_per_node = 1, '
            "timeout_min = 240; for --lane ray the address of the cluster and what a task of it needs, e.g. "
            'address = "10.0.0.1:6379", num_gpus = 0.5.'
        ) from error
