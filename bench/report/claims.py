"""Every claim of the works with all that is known of it, for people and for programs."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.judging.book import Entry
from bench.judging.claim_judge import Pair
from bench.judging.sample_size import BLOCK, HALF_WIDTH_POINTS, LEAST, LEVEL, MOST
from bench.report.power import METRIC_TITLES
from bench.runs.gpu_hours import gpu_hours

SCHEMA = 1
OURS_TITLE = "Claims of our own, at equal cost"
OURS_LEGEND = (
    "No work claims them: they ask for what the works claim among rows that were first brought to the MACs of "
    "synchronized pruning, of inference or of training, so that nothing is won by spending more."
)
ESTIMATE = (
    "GPU-hours are an estimate: steps x milliseconds of a step as measured on one NVIDIA H200 (results/gpu.md), "
    "without the making of views and scoring."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelledClaim:
    """A claim that modelled machines decide, not runs.

    Attributes:
        name: of the claim.
        work: title of the work.
        source: citation.
        statement: as published, word for word.
        verdict: and its reason.
        entries: the same for programs.
    """

    name: str
    work: str
    source: str
    statement: str
    verdict: str
    entries: Mapping[str, object]


def lead(entries: Sequence[Entry]) -> str:
    """Say at which sizes how many claims were judged, with what outcome."""
    names = {(entry.table, entry.judged.claim.name) for entry in entries}
    authors = {entry.judged.claim.work for entry in entries}
    works = "one work" if len(authors) == 1 else f"{len(authors)} works"
    said = []
    for size in dict.fromkeys(f"{entry.profile} on {entry.data}" for entry in entries):
        inside = [entry for entry in entries if f"{entry.profile} on {entry.data}" == size]
        found = Counter(entry.judged.judgement.verdict for entry in inside if entry.judged.judgement.verdict.is_judged)
        if found:
            outcomes = ", ".join(f"{count} {verdict.value}" for verdict, count in found.items())
            said.append(f"{found.total()} of {len(inside)} at {size}: {outcomes}")
    return f"{len(names)} claims of {works}; judged are {'; '.join(said) or 'none'}."


def told(entries: Sequence[Entry], modelled: Sequence[ModelledClaim], ours: Sequence[Entry] = ()) -> Iterator[str]:
    """Give every claim, then its verdict at each size, a line each; those of the works first."""
    yield lead(entries)
    yield from _every(entries)
    if ours:
        yield ""
        yield f"{OURS_TITLE}. {OURS_LEGEND}"
        yield from _every(ours)
    for item in modelled:
        yield ""
        yield f"{item.name}, of {item.work}"
        yield f'  "{item.statement}"'
        yield f"  source: {item.source}"
        yield "  judged on modelled machines, by `python -m bench accelerator`"
        yield f"  {item.verdict}"
    yield ""
    yield ESTIMATE


def _every(entries: Sequence[Entry]) -> Iterator[str]:
    for key in dict.fromkeys((entry.table, entry.judged.claim.name) for entry in entries):
        found = [entry for entry in entries if (entry.table, entry.judged.claim.name) == key]
        yield ""
        yield from _claim(found[0])
        for entry in found:
            yield from _verdict(entry)


def next_steps(entries: Sequence[Entry]) -> Iterator[str]:
    """Give what is still to run for the primary claims by the rule of sample sizes, a line and a command each."""
    yield (
        f"Seeds are added in blocks of {BLOCK} until the {LEVEL:.0%} interval of every difference of a primary claim "
        f"is at most +-{HALF_WIDTH_POINTS} points; at least {LEAST}, at most {MOST}."
    )
    primary = [entry for entry in entries if entry.judged.claim.is_primary and entry.wanted]
    if not primary:
        yield "No primary claim can be judged at these sizes."
    for entry in primary:
        name = f"{entry.judged.claim.name} at {entry.profile} on {entry.data}"
        has = f"{entry.seeds} seeds{_width(entry)}"
        if not entry.missing:
            yield f"{name}: nothing; {has}"
            continue
        yield f"{name}: {has}, {entry.wanted} are wanted{_hours(entry)}"
        yield f"  {entry.way_on}"
    yield ESTIMATE


def payload(entries: Sequence[Entry], modelled: Sequence[ModelledClaim], ours: Sequence[Entry] = ()) -> str:
    """Return the same as JSON, nothing rounded."""
    body = {
        "schema": SCHEMA,
        "lead": lead(entries),
        "claims": [_entry(entry) for entry in entries],
        "ours": [_entry(entry) for entry in ours],
        "modelled": [dict(item.entries) for item in modelled],
    }
    return json.dumps(body, sort_keys=True, indent=1, allow_nan=False) + "\n"


def _claim(entry: Entry) -> Iterator[str]:
    claim = entry.judged.claim
    rank = ", primary" if claim.is_primary else ""
    metric = METRIC_TITLES.get(claim.metric, claim.metric)
    if claim.match:
        yield f"{claim.name} (table {entry.table}, at equal {claim.match}), ours"
        yield f"  {claim.statement}"
    else:
        yield f"{claim.name} (table {entry.table}{rank}), of {claim.work}"
        yield f'  "{claim.statement}"'
        yield f"  source: {claim.source} ({claim.source_kind})"
    gain = f"{metric}, claimed is a gain above {_points(claim.least_gain_points)}"
    beside = f", less the same difference in {claim.beside}" if claim.beside else ""
    yield f"  compares: {claim.left} with {', '.join(claim.right)}{beside}; {gain}"


def _verdict(entry: Entry) -> Iterator[str]:
    judged = entry.judged
    power = judged.power
    yield f"  {entry.profile}, {entry.data}: {judged.judgement.verdict.value}: {judged.judgement.reason}"
    if judged.worst and power:
        pairs = f"the smallest of {len(judged.pairs)} pairs"
        yield f"    gain {_effect(judged.worst)}, {pairs}; n = {judged.seeds} seeds{_width(entry)}{_states(entry)}"
        yield (
            f"    power: {power.smallest_gain:.2f} points beyond what is claimed would be found with 80 %; a gain of "
            f"exactly what is claimed is called REPRODUCED with {power.false_reproduced:.1%}, DEVIATES with "
            f"{power.false_deviates:.1%}"
        )
    if entry.way_on:
        yield f"    {entry.seeds} of {entry.wanted} seeds{_hours(entry)}: {entry.way_on}"


def _effect(pair: Pair) -> str:
    low, high = pair.comparison.interval(LEVEL)
    found = pair.comparison.difference
    beside = f", less that of {pair.beside[0]} over {pair.beside[1]}" if pair.beside else ""
    return f"{_points(found)} [{_points(low)}, {_points(high)}] ({LEVEL:.0%}) of {pair.left} over {pair.right}{beside}"


def _width(entry: Entry) -> str:
    return "" if entry.half_width is None else f", the widest interval +-{entry.half_width:.2f} points"


def _states(entry: Entry) -> str:
    """Say that not all runs were made by the same code."""
    return f"; the runs were made by {entry.states} states of the code" if entry.states > 1 else ""


def _hours(entry: Entry) -> str:
    """Say what the missing seeds would cost on a GPU, where a step like theirs was measured."""
    hours = _gpu_hours(entry)
    if hours is None or not entry.missing:
        return ""
    return f", about {entry.missing * hours:,.0f} GPU-hours by estimate"


def _gpu_hours(entry: Entry) -> float | None:
    """Return the hours of one seed; None where it is unknown, as for rows that are still to be brought to a cost."""
    return None if entry.judged.claim.match else gpu_hours(entry.runs)


def _points(value: float) -> str:
    return f"{value:+.2f}"


def _entry(entry: Entry) -> dict[str, object]:
    judged, hours, power = entry.judged, _gpu_hours(entry), entry.judged.power
    return {
        "table": entry.table,
        "profile": entry.profile,
        "data": entry.data,
        "claim": dataclasses.asdict(judged.claim),
        "verdict": judged.judgement.verdict.value,
        "reason": judged.judgement.reason,
        "pairs": [_pair(pair) for pair in judged.pairs],
        "power": None if power is None else dataclasses.asdict(power),
        "seeds": entry.seeds,
        "seeds_wanted": entry.wanted,
        "code_states": entry.states,
        "seeds_to_settle": judged.settled_by,
        "half_width_points": entry.half_width,
        "gpu_hours_missing_estimate": None if hours is None or not entry.runs else entry.missing * hours,
        "command": entry.way_on,
    }


def _pair(pair: Pair) -> dict[str, object]:
    return {
        "left": pair.left,
        "right": pair.right,
        "beside": list(pair.beside),
        "difference_points": pair.comparison.difference,
        "interval_points": list(pair.comparison.interval(LEVEL)),
        "level": LEVEL,
        "error_points": pair.comparison.error,
        "degrees": pair.comparison.spread.degrees,
        "n": pair.comparison.new_runs,
    }
