"""A column knows its head and how it shows a row: no column can show what another one names."""

import pytest

from bench.judging.claim_judge import JudgedClaim, Pair
from bench.judging.judge import assemble
from bench.judging.judged_table import GATE_FACTS, JudgedTable
from bench.judging.power import Design
from bench.judging.statistics import Comparison, Spread
from bench.judging.verdict import Judgement, Verdict
from bench.report import page
from bench.report.columns import CLAIM_COLUMNS
from bench.report.grid import Grid, grid
from bench.report.json import payload
from bench.report.markdown import markdown
from bench.runs.record import Record
from tests.made_up_tables import (
    made_up_claim,
    made_up_claims,
    made_up_record,
    made_up_records,
    made_up_run,
    made_up_spec,
    made_up_tolerances,
)

DENSE, SPARSE = made_up_run(), made_up_run("gradual", density=0.1)
# No two numbers are alike, so that a column that shows another one's number is seen.
FACTS = {
    "density_prunable": 0.11,
    "density_encoder": 0.12,
    "macs_ratio": 0.13,
    "training_macs_ratio": 0.14,
    "branch_overlap": 0.71,
    "branch_containment": 0.72,
    "transfer_cifar10_percent": 51.5,
    "transfer_cifar100_percent": 21.5,
    "transfer_digits_percent": 81.5,
    "constant_features": 5,
    "effective_rank": 27.5,
    "emptiest_layer_weights": 3,
    "emptied_layers": ["a", "b"],
    "reduction_asked": 2.0,
    "reduction": 2.01,
    "reduction_target": 2.02,
    "gate_agreement": 0.91,
    "gate_agreement_by_chance": 0.61,
    "linear_top1_percent_target": 44.0,
    "knn_top1_percent_target": 33.0,
}


def _table() -> JudgedTable:
    def records(seeds: range, linear: float, knn: float) -> list[Record]:
        runs = (made_up_run("gradual", density=0.1, seed=seed) for seed in seeds)
        return [made_up_record(run, linear + run.seed % 2, knn=knn, facts=FACTS) for run in runs]

    fresh, references = records(range(100, 102), 45.0, 35.0), records(range(4), 47.0, 38.0)
    fresh += made_up_records(DENSE, [47.0, 48.0], first_seed=100)
    return assemble(made_up_spec(SPARSE, DENSE), fresh, references, made_up_tolerances(), made_up_claims())


def _shown(found: Grid) -> dict[str, str]:
    cells = found.rows[0]
    titles = [column.title for column in found.columns]
    assert len(titles) == len(cells)
    shown: dict[str, str] = {}
    for title, cell in zip(titles, cells, strict=True):
        shown[f"{title} of {list(shown)[-1]}" if title == "diff." else title] = cell
    return shown


def test_every_column_of_the_results_shows_what_it_names() -> None:
    assert set(FACTS) >= set(GATE_FACTS)
    assert _shown(page(_table()).results) == {
        "cell": "simclr/gradual/element/d0.10",
        "against our references": "INCONCLUSIVE",
        "linear": "45.50 ± 0.71 (2)",
        "linear, 95 % interval": "39.15 to 51.85",
        "vs dense, ± 95 %": "-2.00 ± 1.63",
        "linear, references": "47.50 ± 0.58 (4)",
        "diff. of linear, references": "-2.00",
        "kNN": "35.00 ± 0.00 (2)",
        "kNN, 95 % interval": "35.00 to 35.00",
        "kNN, references": "38.00 ± 0.00 (4)",
        "diff. of kNN, references": "-3.00",
        "reduction of MACs": "2.010",
        "target's": "2.020",
        "linear of the target branch": "44.00",
        "gates agree on an image (by chance)": "0.910 (0.610)",
        "linear on CIFAR-10": "51.50",
        "linear on CIFAR-100": "21.50",
        "linear on the stand-in": "81.50",
        "density": "0.1100",
        "density, whole encoder": "0.1200",
        "MACs": "0.1300",
        "training MACs": "0.1400",
        "overlap of the branches beyond chance": "0.7100",
        "share of the sparser branch's mask in the other's": "0.7200",
        "constant features": "5.0",
        "effective rank": "27.5",
        "weights in the emptiest layer": "3.0",
        "emptied layers": "2.0",
        "repeat it": (
            "python -m bench table cifar10 --profile smoke --data cifar10 --cells simclr/gradual/element/d0.10 "
            "--seeds 2"
        ),
    }


def test_rows_trained_compactly_show_what_a_step_took_before_and_after_and_all_rows_their_seconds() -> None:
    times = {"masked_step_cpu_milliseconds": 40.0, "compact_step_cpu_milliseconds": 30.0, "train_cpu_seconds": 12.25}
    compact = made_up_record(SPARSE, 45.0, facts={"compact_macs_ratio": 0.0625}, provenance=times)
    masked = made_up_record(DENSE, 47.0, provenance={"train_cpu_seconds": 20.5})
    spec = made_up_spec(SPARSE, DENSE)
    found = page(assemble(spec, [compact, masked], [], made_up_tolerances(), made_up_claims())).results
    shown = [dict(zip([column.title for column in found.columns], row, strict=True)) for row in found.rows]
    titles = ("MACs, training compactly", "CPU time of a step, compact / masked", "CPU-seconds of training")
    assert [[row[title] for title in titles] for row in shown] == [["0.0625", "0.750", "12.2"], ["-", "-", "20.5"]]


def test_every_column_of_the_claims_shows_what_it_names() -> None:
    pair = Pair(
        left="a",
        right="b",
        comparison=Comparison(difference=1.5, spread=Spread(1.0, 8), new_runs=2, reference_runs=3),
    )
    judged = JudgedClaim(
        claim=made_up_claim(least_gain_points=-1.0),
        judgement=Judgement(verdict=Verdict.DEVIATES, reason="why"),
        pairs=(pair,),
    )
    assert _shown(grid("claims", CLAIM_COLUMNS, [judged])) == {
        "claim": "better (primary)",
        "work": "A Work",
        "verdict": "DEVIATES",
        "smallest gain found": "+1.50",
        "claimed above": "-1.00",
        "metric": "linear",
        "statement": "it is better",
        "source": "A. Author, 2023 (abstract)",
    }


def test_references_alone_have_no_empty_column_and_one_line_says_why_nothing_is_judged() -> None:
    references = [
        made_up_record(made_up_run(run.sparsity.method, density=run.sparsity.density, seed=seed), 45.0 + seed)
        for run in (DENSE, SPARSE)
        for seed in range(3)
    ]
    table = assemble(made_up_spec(DENSE, SPARSE), None, references, made_up_tolerances(), made_up_claims())
    laid_out = page(table)
    assert laid_out.reasons == (("all 2 cells", "NOT_JUDGED: These are the references; nothing was run."),)
    assert all(set(cells) != {"-"} for cells in zip(*laid_out.results.rows, strict=True))
    assert "against our references" not in [column.title for column in laid_out.results.columns]
    assert table.exit_code() == 0


def test_cells_that_share_a_reason_share_a_line() -> None:
    runs = [made_up_run("gradual", density=density) for density in (0.1, 0.2, 0.3, 0.4, 0.5)]
    outcomes = [made_up_record(run, 45.0) for run in runs[1:]]
    table = assemble(made_up_spec(*runs), outcomes, [], made_up_tolerances(), made_up_claims())
    (one, _), (four, reason) = page(table).reasons
    assert one == runs[0].cell
    assert four == f"{runs[1].cell}, {runs[2].cell}, {runs[3].cell} and 1 more"
    assert reason.startswith("NO_REFERENCE: 0 references, 3 needed")


def test_power_is_computed_once_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    detectable = Design._detectable

    def watched(design: Design, cell: str) -> float:
        asked.append(cell)
        return detectable(design, cell)

    monkeypatch.setattr(Design, "_detectable", watched)
    table = _table()
    laid_out = page(table)
    assert markdown(laid_out)
    assert payload(table)
    assert asked == [SPARSE.cell]
