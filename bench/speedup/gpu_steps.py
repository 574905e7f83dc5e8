"""What training steps cost on a GPU: in time and memory, against the bare work in them, and so for whole tables."""

import dataclasses
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from lightning_fabric import Fabric

from bench.config.profiles import PROFILES
from bench.config.run import Precision, Run
from bench.data.dataset import Dataset
from bench.errors import UsageError
from bench.runs.estimate import TIMED_STEPS, WARM_UP_STEPS, median_step_seconds
from bench.runs.gpu_hours import IMAGES, Milliseconds, gpu_hours
from bench.speedup.contestants import unmasked
from bench.speedup.gpu_views import waited
from bench.speedup.step_cost import noise
from bench.tables import TABLES
from bench.training import parts
from bench.training.batches import Batches
from bench.training.state import TrainingError

BARE = "bare forward and backward of "
_BATCHES = 4  # that the bare work goes round
_SIZES = {"gpu": "bf16-mixed", "paper": "32-true"}  # profile -> the precision of its tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a step took.

    Attributes:
        what: trained, or the bare work of it.
        precision: of Fabric.
        images: of a batch.
        pixels: side of the views.
        milliseconds: the median.
        peak_bytes: allocated on the device at most; 0 where that is not known.
        failed: why there is no such number; empty where there is.
    """

    what: str
    precision: str
    images: int
    pixels: int
    milliseconds: float = 0.0
    peak_bytes: int = 0
    failed: str = ""

    @property
    def line(self) -> str:
        """A row of Markdown."""
        memory = f"{self.peak_bytes / 2**30:.1f} GiB" if self.peak_bytes else "-"
        time_taken = self.failed or f"{self.milliseconds:.1f}"
        return f"| {self.what} | {self.pixels} | {self.images} | {self.precision} | {time_taken} | {memory} |"


HEAD = ("| what | pixels | batch | precision | ms a step | peak memory |", "|---|---:|---:|---|---:|---:|")


def steps(runs: Mapping[str, Run], device: str) -> Iterator[Step]:
    """Yield what a step of each run takes, in each precision, behind the bare work of the first run.

    Views are made in the training steps, and not in the bare work; images are noise. What fails is told, and the rest
    goes on.

    Args:
        runs: name -> what is trained.
        device: where, as Fabric names it.
    """
    images = {name: noise(run) for name, run in runs.items()}
    first = next(iter(runs))
    for precision in get_args(Precision):
        for is_bare, name in [(True, first), *((False, name) for name in runs)]:
            run = runs[name]
            run = dataclasses.replace(run, optimizer=dataclasses.replace(run.optimizer, precision=precision))
            step = Step(
                what=f"{BARE}{name}" if is_bare else name,
                precision=precision,
                images=run.optimizer.batch_images,
                pixels=images[name].train.size,
            )
            try:
                yield _measured(step, run, images[name], device, is_bare=is_bare)
            except (RuntimeError, TrainingError) as error:  # memory that is too small, say
                yield dataclasses.replace(step, failed=" ".join(str(error).split())[:200])


def _measured(step: Step, run: Run, images: Dataset, device: str, *, is_bare: bool) -> Step:
    fabric = parts.fabric_for(run, device=device)
    is_gpu = fabric.device.type == "cuda"
    if is_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(fabric.device)
    seconds = _bare_seconds(run, images, fabric) if is_bare else median_step_seconds(run, images, fabric)
    peak = torch.cuda.max_memory_allocated(fabric.device) if is_gpu else 0
    return dataclasses.replace(step, milliseconds=1e3 * seconds, peak_bytes=peak)


def _bare_seconds(run: Run, images: Dataset, fabric: Fabric) -> float:
    """Return the median wall time of forward and backward of a model without masks, on views that are there."""
    batches = Batches(run, images, fabric)
    ready = [batches.of(step, 0) for step in range(_BATCHES)]
    framework, taken = unmasked(run).to(fabric.device), list[float]()
    for step in range(WARM_UP_STEPS + TIMED_STEPS):
        began = time.perf_counter()
        with fabric.autocast():
            loss = framework.loss(*ready[step % _BATCHES])
        loss.backward()
        framework.zero_grad(set_to_none=True)
        waited(fabric.device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[WARM_UP_STEPS:])


def hours(found: Sequence[Step], dense: str, masked: str, gated: str) -> list[str]:
    """Return as Markdown how many GPU-hours the tables take by steps that were measured, or why that is not known.

    Args:
        found: the steps.
        dense: what of them is a dense step.
        masked: one with masks.
        gated: one with gates.
    """
    said = ["| table | profile | runs | GPU-hours, one run at a time |", "|---|---|---:|---:|"]
    for profile, precision in _SIZES.items():
        scaled = {
            step.what: step.milliseconds * IMAGES / step.images
            for step in found
            if step.precision == precision and not step.failed
        }
        unknown = [what for what in (dense, masked, gated) if what not in scaled]
        if unknown:
            return [f"GPU-hours of tables are not known: no step of {', '.join(unknown)} was timed in {precision}."]
        cost = Milliseconds(dense=scaled[dense], masked=scaled[masked], gated=scaled[gated])
        said += table_hours(profile, cost)
    return said


def table_hours(profile: str, cost: Milliseconds) -> list[str]:
    """Return rows of Markdown: how many GPU-hours each table takes at a size, by what steps cost.

    Args:
        profile: the size.
        cost: of steps.
    """
    rows = []
    for name, table in TABLES.items():
        try:
            spec = table(profile, table.data)
        except UsageError:  # it has no such size
            continue
        runs = spec.runs(range(PROFILES[profile].seeds))
        taken = gpu_hours(runs, cost)
        rows.append(f"| {name} | {profile} | {len(runs)} | {'-' if taken is None else f'{taken:,.0f}'} |")
    return rows
