"""What a report says and draws of gates."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from bench.config.sparsity import SparsitySpec
from bench.judging.judge import assemble
from bench.judging.judged_table import JudgedTable
from bench.judging.verdict import Verdict
from bench.report.cost_plot import REDUCTION, accuracy_against_cost
from bench.report.gate_plots import gate_maps
from bench.report.page import page
from bench.tables import TABLES
from tests.made_up_tables import (
    made_up_claim,
    made_up_claims,
    made_up_record,
    made_up_run,
    made_up_spec,
    made_up_tolerances,
)


def made_up_table() -> JudgedTable:
    dense = made_up_run()
    met, missed = (
        dataclasses.replace(dense, sparsity=SparsitySpec(method="dual_gate", granularity=granularity, reduction=2.25))
        for granularity in ("element", "slice4")
    )
    gates = {"reduction_asked": 2.25, "gate_agreement": 0.9, "gate_agreement_by_chance": 0.6}
    gates |= {"linear_top1_percent_target": 40.0}
    return assemble(
        made_up_spec(dense, met, missed),
        [
            made_up_record(dense, 50.0),
            made_up_record(met, 48.0, facts=gates | {"reduction": 2.2, "reduction_target": 1.0}),
            *(
                made_up_record(
                    dataclasses.replace(missed, seed=seed),
                    47.0,
                    facts=gates | {"reduction": one, "reduction_target": other},
                )
                for seed, (one, other) in enumerate([(1.95, 2.25), (2.55, 2.25), (2.25, 2.75), (2.25, 2.25)])
            ),
        ],
        [],
        made_up_tolerances(),
        made_up_claims(made_up_claim(left="*/dual_gate/slice4/*", right=["*/dense/*"], profiles=["smoke"])),
    )


def test_a_missed_reduction_is_shown_as_missed_run_by_run_and_branch_by_branch() -> None:
    """Two runs that miss on either side do not meet it together; a target without gates was asked for nothing."""
    results = page(made_up_table()).results
    titles = [column.title for column in results.columns]
    found = [row[titles.index("reduction of MACs") :][:4] for row in results.rows]
    assert found == [
        ("-", "-", "-", "-"),
        ("2.200", "1.000", "40.00", "0.900 (0.600)"),
        ("2.250, 3 of 4 MISSED 2.25", "2.375", "40.00", "0.900 (0.600)"),
    ]


def test_runs_that_missed_their_reduction_bear_no_claim() -> None:
    (judged,) = made_up_table().claims
    assert judged.judgement.verdict is Verdict.NOT_JUDGED
    assert "reductions of MACs met" in judged.judgement.reason


def test_a_gated_cell_without_a_reduction_is_not_drawn_as_dense() -> None:
    table = made_up_table()
    rows = tuple(dataclasses.replace(row, facts={**row.facts, "reduction": None}) for row in table.rows)
    drawn = accuracy_against_cost(dataclasses.replace(table, rows=rows), REDUCTION).decode()
    assert ">dense<" in drawn
    assert "dual_gate" not in drawn


def test_a_table_without_gates_has_no_columns_for_them() -> None:
    dense = made_up_run()
    table = assemble(made_up_spec(dense), [made_up_record(dense, 50.0)], [], made_up_tolerances(), made_up_claims())
    assert not table.has_gates
    assert "reduction of MACs" not in [column.title for column in page(table).results.columns]


def test_the_drawing_is_the_same_for_the_same_table_and_names_every_line() -> None:
    drawn = accuracy_against_cost(made_up_table(), REDUCTION)
    assert drawn == accuracy_against_cost(made_up_table(), REDUCTION)
    assert all(name in drawn.decode() for name in (">dense<", ">dual_gate<", ">dual_gate slice4<", ">simclr<"))
    spec = made_up_table().spec
    assert f"{spec.name}, profile {spec.profile}, data {spec.data}; seeds 0, 1, 2, 3" in drawn.decode()


def test_gate_maps_are_a_picture() -> None:
    maps = {"gates/images": np.zeros((2, 3, 8, 8), np.uint8)}
    maps |= {f"gates/{branch}/a": np.full((2, 4, 4), 128, np.uint8) for branch in ("online", "target")}
    with Image.open(io.BytesIO(gate_maps(maps, "a run"))) as picture:
        assert picture.format == "PNG"
        assert picture.width > 100


@pytest.mark.parametrize("profile", ["smoke", "cpu", "gpu", "paper"])
@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_the_table_holds_images_out_in_every_cell(profile: str, data: str) -> None:
    spec = TABLES["gating"](profile, data)
    assert len({run.data for run in spec.cells}) == 1
    assert spec.cells[0].data.held_out_images > 0
    asked = {run.sparsity.reduction for run in spec.cells if run.sparsity.method == "dual_gate"}
    assert asked == {"paper": {1.25, 1.5, 1.75, 2.25}, "cpu": {1.5, 2.25}}.get(profile, {2.25})


def test_the_heading_says_how_many_images_steer_gates() -> None:
    run = made_up_run()
    held = dataclasses.replace(run, data=dataclasses.replace(run.data, held_out_images=128))
    for each, expected in ((held, "5120 images, 128 of them held out to steer gates, "), (run, "5120 images, ")):
        table = assemble(made_up_spec(each), [made_up_record(each, 50.0)], [], made_up_tolerances(), made_up_claims())
        assert f"{expected}5 epochs" in dict(page(table).heading)["training"]
