"""Every stored reference is what was recorded, belongs to a cell, and is guarded by a judge that can see."""

import dataclasses
import functools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from unittest.mock import patch

import pytest

from bench.config.profiles import PROFILES
from bench.config.run import STAND_IN, Run
from bench.judging import exact
from bench.judging.claims import Claims, load_claims
from bench.judging.exact import violations
from bench.judging.judge import assemble
from bench.judging.judged_table import CONTAINMENT, GATE_FACTS, HEALTH_FACTS, OVERLAP, SHOWN_FACTS, JudgedTable
from bench.judging.references import FIRST_USER_SEED, REFERENCES, load_references, places
from bench.judging.tolerances import Tolerances, load_tolerances
from bench.judging.verdict import MINIMUM_REFERENCES, Verdict
from bench.runs.record import Record
from bench.tables import TABLES
from bench.tables.spec import TableSpec
from tests.unrecorded import is_unrecorded

PLACES = places()
each_place = pytest.mark.parametrize("place", PLACES, ids="/".join)


@pytest.fixture(autouse=True, scope="module")
def named_once() -> Iterator[None]:
    """Make the name of each run once: it takes a millisecond, and every judging asks all references for theirs."""
    name = vars(Run)["run_id"].fget
    with patch.object(Run, "run_id", property(functools.cache(name))):
        yield


@pytest.fixture
def compared_once() -> Iterator[None]:
    """Compare the exact facts of each fresh run once: a planted loss moves metrics alone, which are none of them."""
    found = dict[str, tuple[str, ...]]()

    def remembered(record: Record, references: Sequence[Record]) -> tuple[str, ...]:
        if record.run_id not in found:
            found[record.run_id] = violations(record, references)
        return found[record.run_id]

    with patch.object(exact, "violations", remembered):
        yield


def test_tables_show_no_fact_that_no_run_has() -> None:
    """One was called by another name than in records, so that emptied layers were never told."""
    known = set().union(*(record.facts for place in PLACES for record in load_references(*place)))
    assert known >= {*SHOWN_FACTS, *GATE_FACTS, *HEALTH_FACTS, OVERLAP, CONTAINMENT}


def _of_cell(run: Run, references: Sequence[Record]) -> list[Record]:
    return [
        item
        for item in references
        if item.run.cell == run.cell and item.run_id == dataclasses.replace(run, seed=item.run.seed).run_id
    ]


@functools.cache
def _loaded(place: tuple[str, str, str]) -> tuple[TableSpec, tuple[Record, ...], dict[str, Record]]:
    """Return the table, its references, and what fresh runs would leave that lay at the means of their references."""
    name, profile, data = place
    whole, references = TABLES[name](profile, data), tuple(load_references(name, profile, data))
    spec = whole.only([cell for cell in whole.names if not is_unrecorded(place, cell)])
    fresh = {}
    for run in spec.runs(range(FIRST_USER_SEED, FIRST_USER_SEED + PROFILES[profile].seeds)):
        stored = _of_cell(run, references)
        means = {name: math.fsum(item.metrics[name] for item in stored) / len(stored) for name in stored[0].metrics}
        facts = {**stored[0].facts, "weights_digest": f"of seed {run.seed}"}
        fresh[run.cell] = dataclasses.replace(stored[0], run=run, metrics=means, facts=facts)
    return spec, references, fresh


@functools.cache
def _rules(place: tuple[str, str, str]) -> tuple[Tolerances, Claims]:
    return load_tolerances(*place), load_claims(place[0])


def _judged(place: tuple[str, str, str], losses: Mapping[str, float]) -> JudgedTable:
    spec, references, fresh = _loaded(place)
    moved = [
        dataclasses.replace(item, metrics={name: mean - losses.get(cell, 0.0) for name, mean in item.metrics.items()})
        for cell, item in fresh.items()
    ]
    return assemble(spec, moved, references, *_rules(place))


@each_place
def test_no_reference_breaks_what_the_others_of_its_cell_share(place: tuple[str, str, str]) -> None:
    """Each, as a fresh run, passes the exact gate that the others make: so shall any other seed."""
    spec, references, _ = _loaded(place)
    for run in spec.cells:
        stored = _of_cell(run, references)
        for item in stored:
            others = [other for other in stored if other is not item]
            assert violations(item, others) == ()


@each_place
def test_every_cell_has_its_references_and_no_reference_lacks_its_cell(place: tuple[str, str, str]) -> None:
    """Reading them checks every seal."""
    name, profile, data = place
    references = load_references(name, profile, data)
    found = {run.cell: _of_cell(run, references) for run in TABLES[name](profile, data).cells}
    for cell, stored in found.items():
        assert not stored if is_unrecorded(place, cell) else len(stored) >= MINIMUM_REFERENCES, cell
    assert sum(map(len, found.values())) == len(references)


def test_the_smoke_table_shows_training_and_mask_updates() -> None:
    """The floors that a toy misses."""
    spec, references, _ = _loaded(("cifar10", "smoke", "cifar10"))

    def mean(cell: str) -> float:
        (run,) = spec.select(cell).cells
        stored = _of_cell(run, references)
        return math.fsum(item.metrics["linear_top1_percent"] for item in stored) / len(stored)

    for framework, gain in {"simclr": 9.0, "moco": 7.0, "byol": 3.0, "barlow_twins": 5.0}.items():
        assert mean(f"{framework}/dense/*") - mean(f"{framework}/untrained/*") > gain
    for item in references:
        method, updates, steps = item.run.sparsity.method, item.facts["update_steps"], item.facts["optimizer_steps"]
        assert isinstance(updates, list)
        assert isinstance(steps, int)
        assert steps >= (0 if method == "untrained" else 200)
        assert (len(updates) >= 5) is (method.partition("_")[0] in {"gradual", "set", "rigl", "granet", "synchronized"})


@pytest.mark.usefixtures("compared_once")
@each_place
def test_an_unmoved_table_is_reproduced_and_a_planted_loss_deviates(place: tuple[str, str, str]) -> None:
    """The positive control on the real spreads, margins and numbers of seeds."""
    quiet = _judged(place, {})
    for row in quiet.rows:  # where nothing was learnt, nothing is reproduced
        is_floor = row.versus_untrained is not None and row.versus_untrained.comparison.difference < 0
        # On the stand-in five seeds of MoCo spread by 4 to 6 points, so that one run settles nothing and two do.
        is_wide = place[-1] == STAND_IN and row.cell.startswith("moco/") and "n = 2 new runs" in row.judgement.reason
        assert row.judgement.verdict is (Verdict.INCONCLUSIVE if is_floor or is_wide else Verdict.REPRODUCED)
    assert quiet.control_missed == ()
    assert quiet.design
    for cell, comparison in quiet.design.comparisons.items():
        loss = quiet.design.margins[cell].delta_points + 3 * comparison.spread.sd
        moved = _judged(place, {cell: loss})
        verdicts = {row.cell: row.judgement.verdict for row in moved.rows}
        assert verdicts[cell] is Verdict.DEVIATES
        assert moved.exit_code() == 1


def test_a_run_that_stands_in_several_tables_has_one_result() -> None:
    """Judged twice under one name, it would be two runs: kinds of machines round differently."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for path in REFERENCES.glob("*/*/*/*.json"):
        body = json.loads(path.read_text())
        result = json.dumps([body["metrics"], body["facts"]], sort_keys=True)
        found.setdefault((path.parts[-3], path.parts[-2], path.stem), set()).add(result)
    assert [key for key, results in found.items() if len(results) > 1] == []
