"""What the paper profile alone uses, small: LARS with a warm-up, Lightly's views, the SGD probe; and bfloat16."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from bench.config.profiles import PROFILES
from bench.config.run import Run
from bench.evaluation.probes import PROBES
from bench.frameworks import FRAMEWORKS, Framework
from bench.runs import job
from bench.runs.context import Context
from bench.ticks import silent
from bench.training import parts
from bench.training.lars import LARS
from bench.views import recipes
from bench.views.lightly import LightlyViews
from tests.end_to_end.test_training import is_exact, stop_at
from tests.tiny import gated_run, pretrained, tiny_run

PAPER = PROFILES["paper"]


def with_paper_parts(run: Run) -> Run:
    """Return the run with the paper profile's optimizer, views and probe, but its own batches; one epoch warms up."""
    optimizer = dataclasses.replace(
        PAPER.recipes["simclr"].optimizer,
        batch_images=run.optimizer.batch_images,
        epochs=run.optimizer.epochs,
        warmup_epochs=1,
    )
    views = dataclasses.replace(run.views, pipeline=PAPER.pipeline)
    return dataclasses.replace(run, optimizer=optimizer, views=views, evaluation=PAPER.evaluation)


def test_a_run_of_the_papers_parts_is_scored_and_resumes_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = with_paper_parts(tiny_run("simclr", "gradual", epochs=3, batch=24))
    assert (run.optimizer.name, run.views.pipeline, run.evaluation.probe) == ("lars", "lightly", "sgd")
    assert isinstance(recipes.build(run.views, seed=0, images=96, side=32), LightlyViews)
    rates, make = list[float](), parts.optimizer_for

    def watched(run: Run, framework: Framework) -> torch.optim.Optimizer:
        optimizer = make(run, framework)
        optimizer.register_step_pre_hook(lambda lars, _1, _2: rates.append(lars.param_groups[0]["lr"]))
        return optimizer

    monkeypatch.setattr(parts, "optimizer_for", watched)
    context = Context(runs_dir=tmp_path / "runs", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    with pytest.raises(KeyboardInterrupt):
        job.perform(run, context, stop_at(7))
    made = job.perform(run, context, silent)
    whole = pretrained(run, tmp_path / "whole")
    is_exact(run, whole)
    assert {name: made.facts[name] for name in whole.facts} == whole.facts
    peak = run.optimizer.learning_rate
    assert rates[:12] == rates[12:]
    assert rates[:4] == pytest.approx([peak / 4, peak / 2, 3 * peak / 4, peak])  # four steps an epoch
    assert rates[11] == pytest.approx(peak / 1000)
    assert made.facts["linear_protocol"] == PROBES["sgd"].protocol
    assert made.metrics["knn_top1_percent"] > 25  # of ten digits, from 96 images; 36 was found
    assert 0 < made.metrics["linear_top1_percent"] < 100


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("method", ["synchronized", "dual_gate"])
def test_lars_has_every_trained_parameter_once_and_decays_weights_alone(framework: str, method: str) -> None:
    run = gated_run(framework, method, 1.5) if method == "dual_gate" else tiny_run(framework, method, gap=0.3)
    run = with_paper_parts(run)
    built = parts.framework_for(run)
    parts.method_for(run).attach(built.branches, 100)
    optimizer = parts.optimizer_for(run, built)
    assert isinstance(optimizer, LARS)
    decayed, others = (set(map(id, group["params"])) for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [run.optimizer.weight_decay, 0.0]
    assert [group["is_scaled"] for group in optimizer.param_groups] == [True, False]
    trained = [parameter for parameter in built.parameters() if parameter.requires_grad]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(trained)  # so none is there twice
    assert decayed | others == set(map(id, trained))
    norms = {id(each) for module in built.modules() if isinstance(module, _BatchNorm) for each in module.parameters()}
    biases = {id(each) for name, each in built.named_parameters() if name.endswith("bias")}
    gates = {id(each) for name, each in built.named_parameters() if ".gate." in name}
    assert others == (norms | biases | gates) & set(map(id, trained))
    assert bool(gates) is (method == "dual_gate")


def test_a_run_in_bfloat16_trains_and_ends_at_its_density(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder trains in it; losses and weights are float32. Fabric alone ignores it on a single device."""
    run = tiny_run("simclr", "synchronized", gap=0.3, epochs=3)
    run = dataclasses.replace(run, optimizer=dataclasses.replace(run.optimizer, precision="bf16-mixed"))
    seen, make = set[torch.dtype](), parts.framework_for

    def watched(run: Run, *, gather: bool) -> Framework:
        framework = make(run, gather=gather)
        layer = framework.online.get_submodule("layer1.0.conv1")
        layer.register_forward_hook(lambda _1, _2, maps: seen.add(maps.dtype) if maps.requires_grad else None)
        return framework

    monkeypatch.setattr(parts, "framework_for", watched)
    trained = pretrained(run, tmp_path)
    assert seen == {torch.bfloat16}
    losses = trained.facts["loss_curve"]
    assert isinstance(losses, list)
    assert len(losses) == 12
    assert all(map(math.isfinite, losses))
    assert {parameter.dtype for parameter in trained.encoder.parameters()} == {torch.float32}
    is_exact(run, trained)
