"""What is exact about a run: of each branch, of every loss, and of what its gates did."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.training import parts
from bench.training.facts import emptied, facts
from methods import macs, masking
from methods.method import GateFacts
from methods.overlap import overlap
from tests.tiny import BATCH, dataset_of, pretrained, tiny_run


def test_a_layer_that_keeps_a_single_weight_is_emptied_and_one_with_its_share_is_not() -> None:
    framework = parts.framework_for(tiny_run("simclr", "gradual"))
    assert emptied(framework.online)["emptied_layers"] == []
    masks = masking.read(framework.online)
    for mask in masks.values():
        mask.flatten()[5:].zero_() if mask.numel() < 100 else mask.flatten()[mask.numel() // 5 :].zero_()
    last = list(masks)[-1]
    masks[last] = torch.zeros_like(masks[last])
    masks[last].view(-1)[3] = 1.0
    masking.write(framework.online, masks)
    assert emptied(framework.online) == {"emptiest_layer_weights": 1, "emptied_layers": [last]}


def test_facts_are_those_of_both_branches_and_of_every_loss(tmp_path: Path) -> None:
    run = tiny_run("byol", "synchronized", gap=0.3, epochs=1)
    made, images = pretrained(run, tmp_path), dataset_of(run, tmp_path)
    trained, framework = made.trained, made.trained.framework
    assert made.facts["loss_curve"] == [round(loss, 6) for loss in trained.losses]  # few are written all
    trained.losses, trained.step = [step + 1 / 3 for step in range(150)], 150
    found = facts(run, images, trained, made)
    assert found["loss_curve"] == [round(loss, 6) for loss in trained.losses[::3]]
    assert found["loss_digest"] == hashlib.sha256(np.array(trained.losses).tobytes()).hexdigest()
    assert (found["samples_seen"], found["train_images"]) == (150 * BATCH, 4 * BATCH)
    pair, masks = framework.branches, [masking.read(each) for each in (framework.online, framework.target)]
    for end, module in (("", pair.online), ("_target", pair.target)):
        assert found[f"mask_digest{end}"] == masking.digest(module)
        assert found[f"kept_per_layer{end}"] == masking.counts(module)
    alike = overlap(*masks)
    assert found["branch_overlap"] == alike.chance_corrected != alike.agreement
    assert found["branch_containment"] == alike.containment
    assert found["density_encoder"] == macs.density_encoder(pair.online) != found["density_prunable"]
    curves = trained.method.facts().curves
    assert found["curves"] == {name: [round(value, 6) for value in values] for name, values in curves.items()}


def test_gates_replace_the_macs_of_training_by_what_each_branch_executed(tmp_path: Path) -> None:
    run = tiny_run("byol", "untrained", density=1.0, epochs=0)
    run = dataclasses.replace(run, sparsity=dataclasses.replace(run.sparsity, granularity="-"))
    made = pretrained(run, tmp_path)
    assert made.facts["training_macs_ratio"] == 0.0
    assert made.facts["loss_curve"] == []
    assert "branch_overlap" not in made.facts
    gates = GateFacts(online_share=0.4, target_share=0.9, facts={"macs_ratio": 0.5}, features=torch.empty(0), maps={})
    found = facts(run, dataset_of(run, tmp_path), made.trained, dataclasses.replace(made, gates=gates))
    assert found["macs_ratio"] == 0.5
    assert found["training_macs_ratio"] == pytest.approx((3 * 2 * 0.4 + 2 * 0.9) / (3 * 2 + 2))
