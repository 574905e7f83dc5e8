"""The accelerator table: every row on every machine, for people and for programs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.page import ALWAYS_WIDE, Column, Grid, Page
from bench.speedup.ratios import JudgedRatio, Ratios
from bench.speedup.timeline import Course
from hardware import comparison, presets
from hardware.comparison import Row
from hardware.machine import Machine

SCHEMA = 1
NOT_MODELLED = (
    "Not modelled: activation functions, pooling, residual sums, biases, sorting in a mask update, augmentation, and "
    "everything beside the step; zeros of activations and errors (ReLU), also on the element-wise core; bitmaps of "
    "gates and of ReLU; the computation of gates; halos of neighbouring chunks; in the energy of the element-wise "
    "core, buffer reads beyond one vector of activations per cycle, though each multiplier has a queue of its own. A "
    "removed filter takes its consumer's inputs along, as if the constant that normalisation leaves of it were folded "
    "into the consumer; training keeps both."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row of the table: a course on a machine."""

    course: Course
    preset: str
    final: Row
    average: Row

    @property
    def name(self) -> str:
        """What claims speak about: ``BRANCHES/KIND/PRESET``."""
        return f"{self.course.branches}/{self.course.kind}/{self.preset}"


def lines(courses: Sequence[Course], machines: Sequence[str]) -> tuple[Line, ...]:
    """Return every course on every machine.

    Raises:
        HardwareError: no such preset, or masks that a machine cannot take.
    """
    built = {preset: presets.machine(preset) for preset in machines}
    found = []
    for course in courses:
        for preset, machine in built.items():
            final, average = course.rows(machine)
            found.append(Line(course=course, preset=preset, final=final, average=average))
    return tuple(found)


def ratios(found: Sequence[Line]) -> Ratios:
    """Return what claims are judged by: line -> speed-up of its final step over the dense one."""
    return {line.name: line.final.speed_up for line in found}


def page(found: Sequence[Line], judged: Sequence[JudgedRatio], notes: Sequence[str]) -> Page:
    """Lay the table out as strings."""
    machines = {line.preset: presets.machine(line.preset) for line in found}
    return Page(
        title="What sparsity buys in training: one optimizer step on modelled accelerators",
        banner="",
        heading=(
            ("networks", "; ".join(sorted({_network(line.course) for line in found}))),
            *((preset, _described(machine)) for preset, machine in machines.items()),
        ),
        results=Grid(
            title="Results: a training step beside the dense one on the same machine",
            columns=(
                Column("branches"),
                Column("sparsity"),
                Column("machine"),
                *_columns("", rank=0),
                *_columns(", average of the run", rank=1),
                Column("source", rank=ALWAYS_WIDE),
            ),
            rows=tuple(
                (
                    line.course.branches,
                    line.course.kind,
                    line.preset,
                    *_cells(line.final),
                    *_cells(line.average),
                    line.course.source,
                )
                for line in found
            ),
        ),
        reasons=(),
        claims=Grid(
            title="Claims: what the papers say, in this model",
            columns=(
                Column("claim"),
                Column("work", rank=1),
                Column("verdict"),
                Column("smallest ratio found", is_number=True),
                Column("claimed above", is_number=True),
                Column("statement", rank=ALWAYS_WIDE),
                Column("source", rank=ALWAYS_WIDE),
            ),
            rows=tuple(item.cells for item in judged),
        ),
        claim_reasons=tuple((item.claim.name, item.sentence) for item in judged),
        worth=(
            (
                "Judged from the model, not from samples: REPRODUCED says that the relation holds for these machines, "
                "as parameterised by us, and not that a chip was measured."
            ),
            (
                "Speed-up: dense over sparse cycles. MACs reduction: what the algorithm could save. Conversion: how "
                "much of it became speed. Stalls: share of the cycles that wait for memory."
            ),
            (
                "Average of the run: before the mask schedule, at its points and after its end, by their share of the "
                "steps, mask updates included; linear between points."
            ),
        ),
        notes=(NOT_MODELLED, *notes),
    )


def payload(found: Sequence[Line], judged: Sequence[JudgedRatio]) -> str:
    """Return the table as JSON, nothing rounded."""
    body = {
        "schema": SCHEMA,
        "rows": [
            {
                "branches": line.course.branches,
                "sparsity": line.course.kind,
                "machine": line.preset,
                "source": line.course.source,
                "workload": line.course.workload.name,
                "workload_digest": line.course.workload.digest,
                **comparison.as_numbers({"final": line.final, "average": line.average}),
            }
            for line in found
        ],
        "claims": [item.entries for item in judged],
    }
    return json.dumps(body, sort_keys=True, indent=1, allow_nan=False) + "\n"


def _columns(suffix: str, rank: int) -> tuple[Column, ...]:
    titles = ("speed-up [x]", "MACs reduction [x]", "conversion", "stalls [%]", "energy [mJ]", "energy saved [x]")
    return tuple(
        Column(title + suffix, is_number=True, rank=rank if place < 2 else rank + 1)
        for place, title in enumerate(titles)
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        f"{row.speed_up:.3f}",
        f"{row.macs_reduction:.3f}",
        f"{row.conversion:.3f}",
        f"{100 * row.stall_share:.1f}",
        f"{1e3 * row.sparse.joules:,.2f}",
        f"{row.dense.joules / row.sparse.joules:.3f}",
    )


def _network(course: Course) -> str:
    return f"{course.workload.name}, batch {course.workload.step.batch} ({course.workload.digest[:12]})"


def _described(machine: Machine) -> str:
    return f"{machine.name}. Published: {machine.caption.published}. Assumed (ours): {machine.caption.assumed}"
