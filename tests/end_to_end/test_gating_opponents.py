"""Opponents of dual gating in whole runs: the null row, the reduction they were asked for, and resuming."""

import dataclasses
from pathlib import Path

import pytest
import torch

from bench.config import DataSpec, EncoderSpec, Run, SparsitySpec
from methods import masking
from methods.gating.base import TOLERANCE
from tests.tiny import pretrained, tiny_run

OPPONENTS = ("channel_gate", "feature_boosting", "group_gate", "spatial_gate")
FRAMEWORKS = ("simclr", "byol")


def run_of(framework: str, method: str, *, reduction: float, epochs: int = 5) -> Run:
    """Return a run of ``2 * epochs`` steps with enough channels that a share of them means something."""
    run = tiny_run(framework, "dense", epochs=epochs)
    return dataclasses.replace(
        run,
        data=DataSpec(name="digits", train_images=80, held_out_images=32),
        encoder=EncoderSpec(name="resnet-9", width=0.125),
        sparsity=SparsitySpec(method=method, granularity="element", reduction=reduction) if reduction else run.sparsity,
    )


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("method", OPPONENTS)
def test_null_row_all_gates_on_is_dense_bit_for_bit(framework: str, method: str, tmp_path: Path) -> None:
    dense = pretrained(run_of(framework, "dense", reduction=0.0, epochs=2), tmp_path / "dense")
    gated = pretrained(run_of(framework, method, reduction=1.0, epochs=2), tmp_path / "gated")
    assert gated.facts["loss_digest"] == dense.facts["loss_digest"]
    assert gated.facts["gate_rate"] == gated.facts["gate_rate_target"] == 1.0
    images = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(gated.encoder.eval()(images), dense.encoder.eval()(images))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("method", OPPONENTS)
def test_the_reduction_asked_for_is_reached(framework: str, method: str, tmp_path: Path) -> None:
    result = pretrained(run_of(framework, method, reduction=1.75, epochs=10), tmp_path)
    curves = result.facts["curves"]
    assert isinstance(curves, dict)
    assert abs(curves["held_out_reduction"][-1] / 1.75 - 1) <= TOLERANCE


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("method", OPPONENTS)
def test_resuming_changes_no_bit(framework: str, method: str, tmp_path: Path) -> None:
    run, stop = run_of(framework, method, reduction=1.75, epochs=2), 2

    def interrupt(step: int, _total: int) -> None:
        if step == stop:
            raise KeyboardInterrupt

    whole = pretrained(run, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pretrained(run, tmp_path / "halves", interrupt)
    halves = pretrained(run, tmp_path / "halves")
    assert halves.facts == whole.facts
    assert masking.weights_digest(halves.encoder) == masking.weights_digest(whole.encoder)
