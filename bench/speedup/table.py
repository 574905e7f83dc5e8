"""The accelerator table: every row on every machine, for people and for programs."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.report.grid import ALWAYS_WIDE, NOTHING, Column, grid
from bench.report.page import Page
from bench.speedup.ratios import JudgedRatio
from bench.speedup.timeline import Course
from hardware import comparison, presets
from hardware.caption import assumed, published
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


def page(found: Sequence[Line], judged: Sequence[JudgedRatio], notes: Sequence[str]) -> Page:
    """Lay the table out as strings."""
    machines = {line.preset: presets.machine(line.preset) for line in found}
    return Page(
        title="What sparsity buys in training: one optimizer step on modelled accelerators",
        lead=_lead(judged),
        banner="",
        heading=(
            ("networks", "; ".join(sorted({_network(line.course) for line in found}))),
            *((preset, _described(machine)) for preset, machine in machines.items()),
        ),
        results=grid(
            "Results: a training step beside the dense one on the same machine",
            _COLUMNS,
            found,
            group=lambda line: line.course.branches,
        ),
        alarms=(),
        reasons=(),
        claims=grid("Claims: what the papers say, in this model", _CLAIM_COLUMNS, judged),
        claim_reasons=tuple((item.claim.name, item.sentence) for item in judged),
        worth=(
            (
                "Claims are judged from the model's expectation over random masks and a range of memories, not from "
                "the rows above, of which the drawn ones are one draw each. REPRODUCED says that the relation holds "
                "for these machines, as parameterised by us, and not that a chip was measured."
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
        notes=(NOT_MODELLED, *_memories(machines), *notes),
    )


def _lead(judged: Sequence[JudgedRatio]) -> str:
    verdicts = [item.judgement.verdict.value for item in judged if item.judgement.verdict.is_judged]
    outcomes = ", ".join(f"{count} {verdict}" for verdict, count in Counter(verdicts).items())
    found = f"Of {len(judged)} claims of the works, {len(verdicts)} were judged on modelled machines"
    return f"{found}{': ' + outcomes if outcomes else ''}. No chip was measured."


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


def _step_columns(suffix: str, step_of: Callable[[Line], Row], *, rank: int) -> Iterable[Column[Line]]:
    """Give the columns of one of a line's two steps."""

    def number(title: str, show: Callable[[Row], str], *, rank: int) -> Column[Line]:
        return Column(title=title + suffix, show=lambda line: show(step_of(line)), is_number=True, rank=rank)

    yield number("speed-up [x]", lambda row: f"{row.speed_up:.3f}", rank=rank)
    yield number("MACs reduction [x]", lambda row: f"{row.macs_reduction:.3f}", rank=rank)
    yield number("conversion", lambda row: f"{row.conversion:.3f}", rank=rank + 1)
    yield number("stalls [%]", lambda row: f"{100 * row.stall_share:.1f}", rank=rank + 1)
    yield number("energy [mJ]", lambda row: f"{1e3 * row.sparse.joules:,.2f}", rank=rank + 1)
    yield number("energy saved [x]", lambda row: f"{row.dense.joules / row.sparse.joules:.3f}", rank=rank + 1)


_COLUMNS: tuple[Column[Line], ...] = (
    Column(title="branches", show=lambda line: line.course.branches),
    Column(title="sparsity", show=lambda line: line.course.kind),
    Column(title="machine", show=lambda line: line.preset),
    *_step_columns("", lambda line: line.final, rank=0),
    *_step_columns(", average of the run", lambda line: line.average, rank=1),
    Column(title="source", show=lambda line: line.course.source, rank=ALWAYS_WIDE),
)


def _least(item: JudgedRatio) -> str:
    return NOTHING if item.claim.not_judged else f"{item.claim.least_ratio:.2f}"


_CLAIM_COLUMNS: tuple[Column[JudgedRatio], ...] = (
    Column(title="claim", show=lambda item: item.claim.name),
    Column(title="work", show=lambda item: item.claim.work, rank=1),
    Column(title="verdict", show=lambda item: item.judgement.verdict.value),
    Column(
        title="smallest ratio found",
        show=lambda item: NOTHING if item.found is None else f"{item.found:.3f}",
        is_number=True,
    ),
    Column(title="claimed above", show=_least, is_number=True),
    Column(title="statement", show=lambda item: item.claim.statement, rank=ALWAYS_WIDE),
    Column(title="source", show=lambda item: item.claim.source, rank=ALWAYS_WIDE),
)


def _memories(machines: Mapping[str, Machine]) -> Iterable[str]:
    """Warn where machines differ in more than what they skip."""
    found = {preset: f"{each.dram_bytes_per_cycle:g} B of DRAM per cycle" for preset, each in machines.items()}
    if len(set(found.values())) > 1:
        named = ", ".join(f"{preset} {memory}" for preset, memory in found.items())
        yield (
            f"The memories differ: {named}. Compare rows of one machine; results/accelerator.md has all machines with "
            "one memory."
        )


def _network(course: Course) -> str:
    return f"{course.workload.name}, batch {course.workload.step.batch} ({course.workload.digest[:12]})"


def _described(machine: Machine) -> str:
    return f"{machine.name}. Published: {published(machine)}. Assumed (ours): {assumed(machine)}"
