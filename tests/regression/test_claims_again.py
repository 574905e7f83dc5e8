"""All claims judged again, from the raw files of the stored references, by other code; and how often the judge errs."""

import dataclasses
import itertools
import json
import tomllib
from pathlib import Path

import pytest

from bench.config.profiles import PROFILES
from bench.judging.book import entries
from bench.judging.claim_judge import judge_claims
from bench.judging.claims import CLAIMS, Claims, load_claims
from bench.judging.evidence import gathered
from bench.judging.references import REFERENCES, load_references
from bench.judging.tolerances import load_tolerances
from bench.judging.verdict import Verdict
from bench.runs.record import Record
from bench.tables import TABLES
from tests.made_up_tables import LINEAR, made_up_claim, made_up_claims
from tests.second_opinion import opinions

PLACES = sorted((path.parts[-3], path.parts[-2], path.name) for path in REFERENCES.glob("*/*/*") if path.is_dir())
ALPHA = 0.05


def _bearable(claims: Claims, profile: str) -> Claims:
    """Return the claims as if every one could be judged at a profile: their verdicts mean nothing, and must agree."""
    return dataclasses.replace(
        claims,
        claims=tuple(
            dataclasses.replace(claim, profiles=(profile,), not_judged=dict.fromkeys(others, "no"))
            for claim in claims.claims
            for others in [[name for name in PROFILES if name != profile]]
        ),
    )


@pytest.mark.parametrize("place", PLACES, ids="/".join)
def test_every_verdict_on_a_claim_is_that_of_another_analysis(place: tuple[str, str, str]) -> None:
    name, profile, data = place
    spec, tolerances = TABLES[name](profile, data), load_tolerances(name, profile, data)
    evidence = gathered(spec, load_references(name, profile, data), [])
    there = {record.run_id for runs in evidence.records.values() for record in runs.values()}
    raw = [json.loads((REFERENCES / Path(*place) / f"{run_id}.json").read_text()) for run_id in sorted(there)]
    document = tomllib.loads((CLAIMS / f"{name}.toml").read_text())
    found = opinions(raw, document, profile, spec.names, tolerances.reduction_within)
    judged = {entry.judged.claim.name: entry.judged for entry in entries(evidence, load_claims(name), tolerances)}
    assert {name: item.judgement.verdict.value for name, item in judged.items()} == {
        name: verdict for name, (verdict, _) in found.items()
    }
    for framework in {cell.partition("/")[0] for cell in spec.names}:  # and as if they could be judged here, one by one
        cells = [cell for cell in spec.names if cell.startswith(f"{framework}/")]
        claims = _bearable(load_claims(name), profile)
        again = opinions(
            raw, {"alpha": claims.alpha, "claim": [*map(dataclasses.asdict, claims.claims)]}, profile, cells
        )
        values = evidence.values(tolerances)
        for item in judge_claims(claims, profile, values, cells):
            verdict, near = again[item.claim.name]
            if near > 1e-6:
                assert item.judgement.verdict.value == verdict, (framework, item.claim.name)


def _dense(records: tuple[Record, ...], framework: str) -> list[float]:
    return [
        item.metrics[LINEAR]
        for item in records
        if item.run.framework.name == framework and item.run.sparsity.method == "dense"
    ]


def test_two_halves_of_the_dense_seeds_seldom_differ() -> None:
    """An A/A study: nothing distinguishes the halves, so that every verdict but INCONCLUSIVE is a false alarm.

    Every way of halving each framework's dense seeds; the halves of one set depend on each other, so that the bound
    is wide. (The rates without such dependence are computed and simulated in the tests of ``claim_power``.)
    """
    left, right = "simclr/synchronized/element/d0.10+g0.30", "simclr/gradual/element/d0.10"
    alarms = total = 0
    for place in PLACES:
        records = load_references(*place)
        for framework in {item.run.framework.name for item in records}:
            values = _dense(records, framework)
            half = len(values) // 2
            for chosen in itertools.combinations(range(2 * half), half) if half > 1 else ():
                others = [index for index in range(2 * half) if index not in chosen]
                cells = {
                    cell: dict(enumerate(values[i] for i in side)) for cell, side in ((left, chosen), (right, others))
                }
                (item,) = judge_claims(made_up_claims(made_up_claim()), "cpu", {LINEAR: cells}, list(cells))
                alarms += item.judgement.verdict is not Verdict.INCONCLUSIVE
                total += 1
    if not total:
        pytest.skip("no framework has four dense references yet")
    assert alarms / total <= 4 * ALPHA, f"{alarms} of {total}"
