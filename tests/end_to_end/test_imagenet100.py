"""The table of ImageNet-100 in miniature: its rows, views and stem on a folder of images of any size and mode."""

from pathlib import Path

import pytest

from bench.data import find
from bench.judging.claims import load_claims
from bench.judging.judge import assemble
from bench.judging.tolerances import load_tolerances
from bench.judging.verdict import Verdict
from bench.runs import job
from bench.runs.context import Context
from bench.tables import TABLES
from bench.ticks import silent
from tests.images_on_disk import write_varied

CELLS = ("simclr/dense/-/d1.00", "simclr/synchronized/element/d0.10+g0.30")
GATED = "simclr/dual_gate/element/t1.65"
# The stem keeps its width, so that in an encoder as thin as this nearly all of the work is never gated.
RESNET50 = {
    "moco/synchronized/element/d0.10+g0.30": {"framework.queue_size": "8"},
    "simclr/dual_gate/element/t1.20": {"sparsity.reduction": "1.01"},
}
SMALL = {
    "data.image_size": "72",
    "data.crop_size": "64",
    "data.held_out_images": "8",
    "encoder.width": "0.0625",
    "framework.hidden_dim": "32",
    "framework.output_dim": "16",
    "optimizer.batch_images": "16",
    "optimizer.epochs": "4",
    "optimizer.warmup_epochs": "1",
    "optimizer.precision": "32-true",
}
SMALLER = SMALL | {
    "data.image_size": "36",
    "data.crop_size": "32",
    "encoder.name": "resnet-50",
    "optimizer.batch_images": "8",
    "optimizer.steps": "3",
}


def test_the_table_of_imagenet_100_is_made_in_miniature(tmp_path: Path) -> None:
    write_varied(tmp_path / "data/mine", train=56, test=20)
    content = find.content(find.find("mine", tmp_path / "data"))
    whole = TABLES["imagenet100"]("gpu", "mine", content)
    spec = whole.only(CELLS).changed(SMALL)
    (gates,) = whole.only([GATED]).changed(SMALL | {"sparsity.reduction": "1.05"}).runs([100])
    context = Context(runs_dir=tmp_path / "runs", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    records = [job.perform(run, context, silent) for run in (*spec.runs([100]), gates)]
    dense, sparse, gated = (record.facts for record in records)
    assert {record.facts["train_images"] for record in records} == {48}  # all but those held out
    assert {record.facts["optimizer_steps"] for record in records} == {12}
    assert all(record.metrics["linear_top1_percent"] > 70 for record in records)  # of two classes, one darker
    stem = 32 * 32 * 64 * 3 * 49  # of views of 64 pixels, not of the stored 72
    assert stem < float(str(dense["dense_macs"])) < 2 * stem
    assert abs(float(str(sparse["density_prunable"])) - 0.10) < 0.01
    assert float(str(gated["reduction"])) == pytest.approx(1.05, rel=0.03)
    key = (spec.name, spec.profile, spec.data)
    judged = assemble(spec, records[:2], [], load_tolerances(*key), load_claims(spec.name), claimed=whole.names)
    assert [row.judgement.verdict for row in judged.rows] == [Verdict.NO_REFERENCE] * 2
    assert {claim.judgement.verdict for claim in judged.claims} == {Verdict.NOT_JUDGED}


def test_its_rows_with_resnet_50_are_made_in_miniature(tmp_path: Path) -> None:
    """Three steps of the published recipe, in which weights are pruned and gates settle, on blocks of three layers."""
    write_varied(tmp_path / "data/mine", train=56, test=20)
    content = find.content(find.find("mine", tmp_path / "data"))
    whole = TABLES["imagenet100"]("gpu", "mine", content, "resnet-50")
    context = Context(runs_dir=tmp_path / "runs", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    made = {}
    for cell, own in RESNET50.items():
        (run,) = whole.only([cell]).changed(SMALLER | own).runs([100])
        made[cell] = job.perform(run, context, silent).facts
    sparse, gated = made.values()
    assert {facts["optimizer_steps"] for facts in made.values()} == {3}
    assert {facts["output_features"] for facts in made.values()} == {round(512 * 0.0625) * 4}
    kept = sparse["kept_per_layer"]
    assert isinstance(kept, dict)
    assert len(kept) == 52  # all convolutions but the stem: 3 in each of 16 blocks, and 4 shortcuts
    assert abs(float(str(sparse["density_prunable"])) - 0.10) < 0.01
    rates = gated["gate_rate_per_layer"]
    assert isinstance(rates, dict)
    assert len(rates) == 16  # the 3x3 convolution of each block
    assert float(str(gated["reduction"])) == pytest.approx(1.01, rel=0.03)
