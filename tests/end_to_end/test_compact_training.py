"""``--compact-training``: runs that go on in the smaller network are those of masks, and say what it saved."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch

from bench.__main__ import main
from bench.commands.changes import OtherSettings
from bench.commands.place import Place
from bench.commands.table import Table
from bench.config import overrides
from bench.config.overrides import COMPACT
from bench.config.run import Run
from bench.errors import RunError, UsageError
from bench.runs import job
from bench.runs.context import Context
from bench.runs.record import Record
from bench.ticks import silent
from bench.training import parts
from bench.training.compaction import start_of
from methods import METHODS
from tests.end_to_end.test_training import stop_at
from tests.tiny import dataset_of, gated_run, pretrained, tiny_run

# Static masks from a quarter of the short run on, a ramp from the step behind its last update on.
CELLS = {("simclr", "static_uniform"): 3, ("byol", "gradual"): 9}


def compact(run: Run) -> Run:
    return overrides.changed(run, {COMPACT: "true"})


def of_filters(framework: str, method: str) -> Run:
    return tiny_run(framework, method, granularity="filter", density=0.25, epochs=3, batch=24)


@pytest.mark.parametrize(("framework", "method"), CELLS)
def test_losses_are_those_of_masks_and_an_interrupted_run_ends_with_the_same_bits(
    framework: str, method: str, tmp_path: Path
) -> None:
    masked = of_filters(framework, method)
    run, start = compact(masked), CELLS[framework, method]
    before, after = pretrained(masked, tmp_path / "masked"), pretrained(run, tmp_path / "compact")
    losses = torch.tensor(after.trained.losses), torch.tensor(before.trained.losses)
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)
    assert torch.equal(losses[0][:start], losses[1][:start])
    pair = after.trained.framework.branches
    assert not any("forward" in vars(encoder) for encoder in (pair.online, pair.target))  # as before, once it has ended
    expected = before.encoder.state_dict()
    assert after.encoder.state_dict().keys() == expected.keys()
    for name, tensor in after.encoder.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5)
    exact = set(before.facts) - {"loss_digest", "weights_digest", "loss_curve", "curves"}
    assert {name: after.facts[name] for name in exact} == {name: before.facts[name] for name in exact}
    assert after.facts["compact_from_step"] == start
    assert after.masks.keys() == before.masks.keys()
    assert all(torch.equal(mask, before.masks[name]) for name, mask in after.masks.items())
    with pytest.raises(KeyboardInterrupt):
        pretrained(run, tmp_path / "cut", stop_at(start + 1))
    resumed = pretrained(run, tmp_path / "cut")
    assert resumed.facts == after.facts
    assert resumed.trained.paces.keys() == {"masked", "compact"}
    assert len(resumed.trained.paces["masked"]) == start - 2  # the first two build kernels


def test_a_run_without_the_setting_keeps_its_name_and_one_with_it_has_its_own() -> None:
    run = of_filters("simclr", "static_uniform")
    assert "compact_training" not in run.canonical_text
    assert compact(run).run_id != run.run_id
    assert overrides.changed(compact(run), {COMPACT: "false"}).run_id == run.run_id


@pytest.mark.parametrize(
    ("run", "message"),
    [
        *(
            (run, f"{run.sparsity.method} has none: it prunes nothing, or it may bring weights back.*Leave")
            for run in (
                of_filters("simclr", "synchronized"),
                *(tiny_run("simclr", method) for method in ("set", "rigl", "granet")),
            )
        ),
        (tiny_run("simclr", "dense"), "dense has none: it prunes nothing"),
        (tiny_run("simclr", "static_erk"), "the shape element empty none for certain: nothing would get smaller"),
        (tiny_run("simclr", "gradual", granularity="block4x4"), "Prune filters: simclr/gradual/filter/d0.25"),
        (gated_run("simclr", "dual_gate", 1.5), "gates skip activations: every filter stays"),
    ],
    ids=lambda value: value.cell if isinstance(value, Run) else "",
)
def test_what_may_grow_back_is_refused_with_the_rule_and_the_way_out(run: Run, message: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=message):
        parts.check(compact(run), dataset_of(run, tmp_path))


def test_masks_that_change_until_the_end_are_refused() -> None:
    run = compact(of_filters("simclr", "gradual"))
    run = dataclasses.replace(run, sparsity=dataclasses.replace(run.sparsity, end_fraction=0.9))
    with pytest.raises(RunError, match="start at step 5 of 5: masks change until the end"):
        start_of(run, parts.method_for(run), 5)


def test_the_message_names_methods_that_can() -> None:
    names = {"static_uniform", "gradual", "one_shot", "group_lasso"}
    assert all(parts.method_for(of_filters("simclr", name)).final_from(20) is not None for name in names)
    assert names <= METHODS.keys()


def test_a_record_holds_what_a_step_took_before_and_after_and_show_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = compact(of_filters("supervised", "static_uniform"))
    context = Context(runs_dir=tmp_path / "runs", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    record = job.perform(run, context, silent)
    times = [record.provenance[f"{kind}_step_cpu_milliseconds"] for kind in ("masked", "compact")]
    assert all(isinstance(each, float) and each > 0.0 for each in times)
    share = record.facts["compact_macs_ratio"]
    assert isinstance(share, float)
    assert 0.0 < share < 1.0
    monkeypatch.setattr(sys, "argv", ["bench", "show", run.run_id, "--out", str(tmp_path)])
    assert main() == 0
    said = capsys.readouterr().out
    assert "CPU-milliseconds of a step in the smaller network" in said
    assert "--set sparsity.compact_training=True" in said
    assert Record.load(context.runs_dir / run.run_id / "record.json").run == run


def test_of_a_table_those_rows_are_trained_compactly_that_can_be(tmp_path: Path) -> None:
    table = Table(
        name="structured",
        data="digits",
        stored=True,
        other=OtherSettings(compact_training=True),
        place=Place(out=tmp_path),
    )
    judged = table.judged()
    assert [run.cell for run in judged.spec.cells if run.sparsity.compact_training] == [
        "simclr/static_uniform/filter/d0.25"
    ]
    assert any("compact_training = True instead of False in 1 of" in note for note in judged.notes)
    with pytest.raises(UsageError, match=r"no row that was asked for can be trained so\. simclr/synchronized"):
        dataclasses.replace(table, cells="*synchronized*").judged()
