"""Opponents of dual gating in whole runs: each reaches the reduction it was asked for, in both branches."""

import dataclasses
from pathlib import Path

import pytest

from bench.config.run import DataSpec, EncoderSpec
from bench.config.sparsity import SparsitySpec
from methods.gating.control import TOLERANCE
from tests.tiny import BATCH, pretrained, tiny_run


@pytest.mark.parametrize(
    ("framework", "method"),
    [
        ("simclr", "channel_gate"),
        ("byol", "channel_gate"),  # its target is steered apart
        ("byol", "feature_boosting"),
        ("simclr", "group_gate"),
        ("simclr", "spatial_gate"),
        ("byol", "spatial_gate"),  # its target is steered apart
    ],
)
def test_the_reduction_asked_for_is_reached(framework: str, method: str, tmp_path: Path) -> None:
    run = dataclasses.replace(
        tiny_run(framework, "dense", epochs=10),
        data=DataSpec(name="digits", train_images=2 * BATCH + 32, held_out_images=32),  # 2 steps an epoch
        encoder=EncoderSpec(name="resnet-9", width=0.125),
        sparsity=SparsitySpec(method=method, granularity="element", reduction=1.75),
    )
    facts = pretrained(run, tmp_path).facts
    curves = facts["curves"]
    assert isinstance(curves, dict)
    for name in ("held_out_reduction", "held_out_reduction_target"):
        assert curves[name][-1] == pytest.approx(1.75, rel=TOLERANCE)
    assert isinstance(facts["reduction_target"], float)
    assert facts["reduction_target"] > 1.0
    assert isinstance(facts["training_macs_ratio"], float)
    assert facts["training_macs_ratio"] < 1.0
