"""``gpu-check``: what a GPU computes here, and how fast, in under ten minutes."""

import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from bench.commands.cell import run_of_cell
from bench.config.run import STAND_IN
from bench.data.cache_root import cache_root
from bench.errors import RunError, UsageError, unknown
from bench.files import write_atomically
from bench.runs.context import Context

if TYPE_CHECKING:
    from bench.config.run import Run

_POINTS = ("dense/-/d1.00", "synchronized/element/d0.10+g0.30", "dual_gate/element/t1.50")
_TIMED = ("simclr/dense/-/d1.00", "simclr/synchronized/element/d0.10+g0.30", "simclr/dual_gate/element/t1.50")
_OTHERS_TIMED = ("byol/dense/-/d1.00",)
_MOST_JOBS = 10


@dataclass(frozen=True, kw_only=True)
class GpuCheck:
    """Check what a GPU computes, and measure how fast, in under ten minutes: views, steps, short runs.

    Views are compared with the CPU's bit by bit, and timed beside Lightly's and torchvision's. Steps are timed at full
    size in both precisions, against the bare forward and backward pass, and say how many GPU-hours each table takes.
    Every framework runs dense, with sparse weights and with gates, on the stand-in: whole, again, and resumed half way.

    Attributes:
        out: folder of the short runs, and of gpu-check.md, which is also printed, part by part.
        device: cuda; cpu tries the same here, which takes hours at full size.
        steps: of a short run.
        jobs: short runs at once, which share the GPUs.
        width: of the encoder whose steps are timed.
        frameworks: that make short runs; all unless some are named.
    """

    out: Annotated[Path, arg(metavar="DIR")] = Path("out/gpu-check")
    device: Literal["cuda", "cpu"] = "cuda"
    steps: Annotated[int, arg(metavar="NUMBER")] = 200
    jobs: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: as many as cores, at most 10)")] = None
    width: Annotated[float, arg(metavar="SHARE")] = 1.0
    frameworks: Annotated[tuple[str, ...], arg(metavar="FRAMEWORK ...", help_behavior_hint="(default: all)")] = ()

    def act(self) -> int:
        """Print what was found, part by part, and write it; return 1 where something is computed wrongly or fails.

        Raises:
            UsageError: there is no such device, or the folder has runs of an earlier check.
            RunError: no such framework.
        """
        self._context("whole").require_device()
        self._require_no_runs()
        found = list[str]()
        is_right = list[bool]()
        for lines, right in self._parts(*self._short_runs()):
            print(*lines, "", sep="\n", flush=True)
            found += [*lines, ""]
            is_right.append(right)
            write_atomically(self.out / "gpu-check.md", "".join(f"{line}\n" for line in found).encode())
        return 0 if all(is_right) else 1

    def _parts(self, short: "list[Run]", left_out: list[str]) -> Iterator[tuple[list[str], bool]]:
        """Yield lines of Markdown, and whether what they say is as it must be.

        Args:
            short: the short runs.
            left_out: why there are no others.
        """
        import torch

        from bench.runs.determinism import be_deterministic
        from bench.speedup import gpu_runs, gpu_steps, gpu_views

        began = time.monotonic()
        be_deterministic()
        torch.set_num_threads(1)  # as a worker has
        device = torch.device(self.device)
        yield [self._head()], True
        views = gpu_views.differences(device)
        yield gpu_views.lines(views, gpu_views.rates(device)), not any(each.apart for each in views)
        timed = dict(zip((*_TIMED, *_OTHERS_TIMED), map(self._at_full_size, (*_TIMED, *_OTHERS_TIMED)), strict=True))
        timed["simclr/dense of ImageNet-100"] = self._at_full_size(_TIMED[0], data="imagenet100")
        steps = list[gpu_steps.Step]()
        for step in gpu_steps.steps(timed, self.device):
            print(step.line, file=sys.stderr)
            steps.append(step)
        yield (
            ["**Steps**, views included.", "", *gpu_steps.HEAD, *(step.line for step in steps)],
            not any(step.failed for step in steps),
        )
        yield gpu_steps.hours(steps, *_TIMED), True
        runs = gpu_runs.made_thrice(short, self._context, jobs=self._jobs)
        ended = f"In all {time.monotonic() - began:.0f} s."
        yield [*runs.lines(), *(f"- left out: {why}" for why in left_out), "", ended], runs.is_right

    def _head(self) -> str:
        import torch

        from bench import provenance

        used, state = provenance.device(torch.device(self.device)), provenance.git_state()
        versions = {"torch": torch.__version__} | {
            name: used[name] for name in ("cuda", "cudnn", "driver") if name in used
        }
        commit = f"{state['git_commit']}{' and edits' if state['git_dirty'] else ''}"
        said = ", ".join(f"{name} {version}" for name, version in versions.items())
        return f"{used['name']}, {said}; {self._jobs} short runs at once; commit {commit}."

    def _at_full_size(self, cell: str, data: str = "cifar10") -> "Run":
        run = run_of_cell(cell, profile="gpu", data=data)
        return dataclasses.replace(run, encoder=dataclasses.replace(run.encoder, width=self.width))

    def _short_runs(self) -> "tuple[list[Run], list[str]]":
        """Return the runs of all frameworks in half precision, and why some cannot be.

        Raises:
            RunError: no such framework.
        """
        from bench.config.framework import FRAMEWORK_SPECS
        from bench.data.dataset import load
        from bench.runs import job

        runs, left_out, context = list["Run"](), list[str](), self._context("whole")
        for framework in self.frameworks or FRAMEWORK_SPECS:
            if framework not in FRAMEWORK_SPECS:
                raise RunError(unknown("framework", framework, FRAMEWORK_SPECS))
            for point in _POINTS:
                try:
                    run = run_of_cell(f"{framework}/{point}", profile="smoke", data=STAND_IN)
                    optimizer = dataclasses.replace(run.optimizer, steps=self.steps, precision="bf16-mixed")
                    run = dataclasses.replace(run, optimizer=optimizer)
                    job.check(run, load(run.data, context.data_dir, context.cache_dir))
                except RunError as error:
                    left_out.append(str(error))
                else:
                    runs.append(run)
        return runs, left_out

    def _require_no_runs(self) -> None:
        """Refuse a folder with runs: those that are finished would be taken for made, and nothing would be checked."""
        from bench.speedup.gpu_runs import FOLDERS

        earlier = [runs for name in FOLDERS if (runs := self._context(name).runs_dir).exists()]
        if earlier:
            raise UsageError(
                f"{earlier[0]} is of an earlier check, whose runs would not be made again. Give another --out, or "
                f"delete {self.out}."
            )

    def _context(self, name: str) -> Context:
        """Return what the workers of short runs are told: their folder has a name."""
        out = self.out.absolute()
        return Context(runs_dir=out / name, data_dir=out / "data", cache_dir=cache_root(), device=self.device)

    @property
    def _jobs(self) -> int:
        return self.jobs or min(_MOST_JOBS, len(os.sched_getaffinity(0)))
