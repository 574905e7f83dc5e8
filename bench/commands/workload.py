"""``workload``: trace networks for the accelerator model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from bench.files import ROOT, write_atomically


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Trace the networks of the profiles, and one optimizer step of each framework, for the accelerator model.

    Attributes:
        names: PROFILE-FRAMEWORK, e.g. paper-byol; all unless some are named.
        folder: where the JSON files go, which `python -m hardware` reads.
    """

    names: Positional[Annotated[tuple[str, ...], arg(metavar="[NAME ...]", help_behavior_hint="(default: all)")]] = ()
    folder: Annotated[Path, arg(metavar="DIR", help_behavior_hint="(default: results/workloads)")] = (
        ROOT / "results" / "workloads"
    )

    def act(self) -> int:
        """Trace anew; return the exit code.

        Raises:
            UsageError: no such network.
        """
        from bench.errors import UsageError, unknown
        from bench.speedup import stored, trace

        known = list(stored.names())
        for name in self.names:
            if name not in known:
                raise UsageError(unknown("network", name, known))
        for name in self.names or known:
            traced = trace.trace(stored.named(name), name)
            write_atomically(stored.path_of(name, self.folder), traced.text.encode())
            print(f"{name}: {len(traced.layers)} layers, {traced.digest[:16]}")
        return 0
