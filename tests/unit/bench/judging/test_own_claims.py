"""Our own claims: apart from those of the works, about cells that there are, judged by runs at equal cost alone."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.commands.claimed import claimed
from bench.commands.place import Place
from bench.commands.table import Table
from bench.errors import UsageError
from bench.judging import references
from bench.judging.claims import Claim, load_claims, load_own_claims
from bench.judging.equal_cost import Costs, costs, evidence_at_equal_cost
from bench.judging.settings import SettingsError
from bench.runs.folder import RunFolder
from bench.runs.record import Record
from bench.tables import TABLES
from bench.tables.spec import TableSpec
from tests.made_up_tables import made_up_claim, made_up_claims, made_up_record, made_up_run, made_up_spec

OWN: dict[str, tuple[Claim, ...]] = {
    table: own.claims for table in TABLES for own in [load_own_claims(table)] if own is not None
}
LEFT, RIGHT = made_up_run("synchronized", density=0.1, gap=0.3), made_up_run("gradual", density=0.1)
SPEC = made_up_spec(LEFT, RIGHT, made_up_run())
CLAIMS = made_up_claims(made_up_claim())
ASYMMETRY = "ours-asymmetry-helps-at-equal-training-macs"


def moved_to(density: float) -> TableSpec:
    moved = dataclasses.replace(RIGHT, sparsity=dataclasses.replace(RIGHT.sparsity, density=density))
    return dataclasses.replace(SPEC, cells=(LEFT, moved, SPEC.cells[2]))


def test_our_claims_are_told_from_those_of_the_works_and_none_is_primary() -> None:
    assert {"cifar10", "cifar100"} <= OWN.keys()
    ours = [claim for claims in OWN.values() for claim in claims]
    works = [claim for table in TABLES for claim in load_claims(table).claims]
    assert len({claim.name for claim in (*ours, *works)}) == len(ours) + len(works)
    assert all(claim.match and claim.work == claim.source_kind == "ours" and not claim.is_primary for claim in ours)
    assert all(not claim.match and claim.work != "ours" for claim in works)
    with pytest.raises(SettingsError, match="ours: 1 primary claims"):
        made_up_claims(made_up_claim(work="ours"))


def test_where_no_claim_is_about_rows_at_one_cost_there_are_none() -> None:
    assert CLAIMS.at("macs") is None
    own = load_own_claims("cifar10")
    assert own
    at_macs = own.at("macs")
    assert at_macs
    assert {claim.match for claim in at_macs.claims} == {"macs"}


@pytest.mark.parametrize("table", OWN)
def test_our_claims_find_their_cells_and_each_ends_at_the_row_that_costs_are_taken_from(table: str) -> None:
    for claim in OWN[table]:
        for profile in claim.profiles:
            names = TABLES[table](profile, table).names
            assert claim.pairs(names)
            assert all("/synchronized/" in left for left, _ in claim.pairs(names))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('table = "cifar10"', 'table = "cifar11"', r"ours\.toml: table 'cifar11' is unknown"),
        ('match = "macs"', 'match = "flops"', "must be one of macs, training-macs"),
        ('left = "*/synchronized/', 'left = "*/synchronised/', "method 'synchronised' is unknown"),
        ('metric = "linear', 'primary = true\nmetric = "linear', "unknown entries primary"),
    ],
)
def test_a_slip_in_our_claims_is_an_error(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (Path(__file__).parents[4] / "results" / "claims" / "ours.toml").read_text()
    assert old in text
    (tmp_path / "ours.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(SettingsError, match=message):
        load_own_claims("cifar10", tmp_path)


def test_costs_are_those_of_the_references_and_of_fresh_runs_where_there_are_none() -> None:
    stored = [
        made_up_record(dataclasses.replace(RIGHT, seed=seed), 50, facts={"macs_ratio": 0.1 * seed}) for seed in (1, 2)
    ]
    fresh = [made_up_record(dataclasses.replace(run, seed=100), 50, facts={"macs_ratio": 0.9}) for run in (LEFT, RIGHT)]
    found = costs(SPEC, stored, fresh)
    assert found.keys() == {LEFT.cell, RIGHT.cell}
    assert found[RIGHT.cell]["macs_ratio"] == pytest.approx(0.15)
    assert found[LEFT.cell]["macs_ratio"] == 0.9


def test_runs_at_equal_cost_count_under_the_name_that_the_row_has_in_the_table() -> None:
    asked: list[Sequence[str]] = []

    def matched(_spec: TableSpec, _known: Costs, cells: Sequence[str]) -> TableSpec:
        asked.append(cells)
        return moved_to(0.3)

    runs = [dataclasses.replace(run, seed=100) for run in (*moved_to(0.3).cells, RIGHT)]
    records = [made_up_record(run, 50 + index) for index, run in enumerate(runs)]
    found = evidence_at_equal_cost(SPEC, CLAIMS, [], records, matched)
    assert asked == [(LEFT.cell, RIGHT.cell)]
    assert found.spec is SPEC
    assert found.records[RIGHT.cell] == {100: records[1]}  # not the row at equal density, which is there too
    assert found.records[LEFT.cell] == {100: records[0]}


def test_rows_that_did_not_come_to_their_leaders_cost_bear_nothing() -> None:
    for share, counts in ((0.3, True), (0.31, True), (0.6, False)):
        spec = dataclasses.replace(moved_to(0.3), match="macs", leaders=((moved_to(0.3).cells[1].cell, LEFT.cell),))
        left, moved = (dataclasses.replace(run, seed=100) for run in spec.cells[:2])
        records = [
            made_up_record(left, 50, facts={"macs_ratio": 0.3}),
            made_up_record(moved, 51, facts={"macs_ratio": share}),
        ]
        found = evidence_at_equal_cost(SPEC, CLAIMS, [], records, lambda *_, spec=spec: spec)
        assert (RIGHT.cell in found.records) is counts
        assert found.left_out == (
            () if counts else (f"{spec.cells[1].cell} cost 2.00 times what {LEFT.cell} does: not at equal macs",)
        )


def test_without_a_run_of_a_moved_row_nothing_is_matched_and_what_is_unknown_is_left_open() -> None:
    def never(_spec: TableSpec, _known: Costs, _cells: Sequence[str]) -> TableSpec:
        raise AssertionError

    def unknown(_spec: TableSpec, _known: Costs, _cells: Sequence[str]) -> TableSpec:
        raise UsageError("its cost is unknown")

    own = [made_up_record(dataclasses.replace(run, seed=100), 50) for run in SPEC.cells]
    larger = dataclasses.replace(moved_to(0.3).cells[1], encoder=dataclasses.replace(RIGHT.encoder, width=0.25))
    assert not evidence_at_equal_cost(SPEC, CLAIMS, [], [*own, made_up_record(larger, 50)], never).records
    moved = made_up_record(dataclasses.replace(moved_to(0.3).cells[1], seed=100), 50)
    assert not evidence_at_equal_cost(SPEC, CLAIMS, [], [*own, moved], unknown).records


def test_a_table_takes_the_cells_of_our_claim_at_its_cost_alone() -> None:
    spec = TABLES["cifar10"]("cpu", "cifar10")
    part = claimed(spec, ASYMMETRY, "training-macs")
    assert {"simclr/synchronized/element/d0.10", "simclr/synchronized/element/d0.10+g0.30"} <= {*part.names}
    with pytest.raises(UsageError, match="is about rows at equal training-macs: give --match training-macs"):
        claimed(spec, ASYMMETRY)


def test_the_command_of_a_claim_makes_the_runs_that_judge_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def save(record: Record) -> None:
        record.save(RunFolder.of(tmp_path / "runs", record.run).record)

    def told(*form: str) -> str:
        arguments = ["bench", "claims", "--table", "cifar10", "--profile", "cpu", "--out", str(tmp_path), *form]
        monkeypatch.setattr(sys, "argv", arguments)
        assert main() == 0
        return capsys.readouterr().out

    monkeypatch.setattr(references, "load_references", lambda *_: ())  # made-up runs are not those of the stored ones
    before = told()
    command = f"python -m bench table cifar10 --profile cpu --data cifar10 --match training-macs --claim {ASYMMETRY}"
    assert f"0 of 8 seeds: {command} --seeds 8" in before
    assert f"{ASYMMETRY} (table cifar10, at equal training-macs), ours" in before
    for run in claimed(TABLES["cifar10"]("cpu", "cifar10"), ASYMMETRY, "training-macs").cells:  # what rows cost
        save(made_up_record(dataclasses.replace(run, seed=100), 50.0))
    table = Table(profile="cpu", match="training-macs", claim=ASYMMETRY, place=Place(out=tmp_path))
    for run in table._spec("cifar10").runs(range(100, 104)):
        save(made_up_record(run, 50.0 + run.seed % 2, facts={"training_macs_ratio": 0.55}))
    body = json.loads(told("--json"))
    (entry,) = (item for item in body["ours"] if item["claim"]["name"] == ASYMMETRY)
    assert entry["verdict"] != "NOT_JUDGED"
    assert {(pair["left"], pair["right"], pair["n"]) for pair in entry["pairs"]} == {
        (f"{framework}/synchronized/element/d0.10+g0.30", f"{framework}/synchronized/element/d0.10", 4)
        for framework in ("simclr", "moco")
    }
    assert {item["verdict"] for item in body["ours"]} == {"NOT_JUDGED", entry["verdict"]}
