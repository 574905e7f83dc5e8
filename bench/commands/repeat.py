"""The command that makes a run again."""

import shlex

from bench.commands.cell import run_of_cell
from bench.config import overrides
from bench.config.profiles import PROFILES
from bench.config.run import Run
from bench.errors import RunError


def command_of(run: Run) -> str:
    """Return ``python -m bench run ...`` that means this run, with the profile that needs the fewest settings."""
    found: list[tuple[str, dict[str, str]]] = []
    for profile in PROFILES:
        try:
            base = run_of_cell(run.cell, profile=profile, data=run.data.name, seed=run.seed)
        except RunError:  # the profile is not for these images
            continue
        changes = {key: overrides.text_of(new) for key, (_, new) in overrides.differences(base, run).items()}
        found.append((profile, changes))
    profile, changes = min(found, key=lambda each: len(each[1]))
    words = ["python", "-m", "bench", "run", run.cell, "--profile", profile]
    words += ["--data", run.data.name, "--seed", str(run.seed)]
    words += [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    return shlex.join(words)
