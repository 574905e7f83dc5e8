"""Whatever optimizer a run names, it is given every trained parameter once, or the name is refused."""

import dataclasses

import pytest
import torch

from bench.errors import RunError
from bench.training import parts
from bench.training.optimizers import OPTIMIZERS
from methods import masking
from tests.tiny import tiny_run


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_has_every_trained_parameter_once(name: str) -> None:
    run = tiny_run("byol", "dense")
    trust = 0.02 if name == "lars" else None
    run = dataclasses.replace(run, optimizer=dataclasses.replace(run.optimizer, name=name, trust_coefficient=trust))
    framework = parts.framework_for(run)
    optimizer = parts.optimizer_for(run, framework)
    given = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(given) == sorted(id(each) for each in framework.parameters() if each.requires_grad)
    assert {group["lr"] for group in optimizer.param_groups} == {run.optimizer.learning_rate}


def test_an_unknown_optimizer_is_refused_with_the_nearest_one() -> None:
    run = tiny_run("simclr", "dense")
    run = dataclasses.replace(run, optimizer=dataclasses.replace(run.optimizer, name="sdg"))
    with pytest.raises(RunError, match=r"optimizer\.name: 'sdg' is unknown\. Did you mean 'sgd'\?"):
        parts.optimizer_for(run, parts.framework_for(run))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_setting_of_a_run_reaches_its_optimizer(name: str) -> None:
    """And of LARS's two groups only that of the weights is decayed and scaled."""
    trust = 0.02 if name == "lars" else None
    run = tiny_run("byol", "dense")
    spec = dataclasses.replace(run.optimizer, name=name, momentum=0.7, trust_coefficient=trust, clip_lr=name == "lars")
    run = dataclasses.replace(run, optimizer=spec)
    framework = parts.framework_for(run)
    for group in parts.optimizer_for(run, framework).param_groups:
        assert (group["lr"], group["momentum"]) == (spec.learning_rate, 0.7)
        if name == "lars":
            assert (group["trust"], group["clip"]) == (0.02, True)
        for parameter in group["params"]:
            is_weight = name == "sgd" or parameter.ndim > 1
            assert group["weight_decay"] == (spec.weight_decay if is_weight else 0.0)
            assert group.get("is_scaled", False) == (name == "lars" and is_weight)


def test_a_runs_lars_scales_by_what_acts_and_not_by_what_lies_behind_a_mask() -> None:
    run = tiny_run("byol", "dense")
    spec = dataclasses.replace(run.optimizer, name="lars", weight_decay=0.0, trust_coefficient=0.02)
    run = dataclasses.replace(run, optimizer=spec)
    framework = parts.framework_for(run)
    optimizer, masks = parts.optimizer_for(run, framework), masking.read(framework.online)
    for mask in masks.values():
        mask.view(-1)[: mask.numel() // 2] = 0.0
    framework.branches.write(masks)
    latents, generator = masking.latent(framework.online), torch.Generator().manual_seed(0)
    before = {name: (latent * masks[name]).detach() for name, latent in latents.items()}
    for name, latent in latents.items():
        latent.grad = torch.randn(latent.shape, generator=generator) * masks[name]
    optimizer.step()
    for name, latent in latents.items():
        moved = (latent * masks[name] - before[name]).norm() / before[name].norm()
        assert moved.item() == pytest.approx(spec.learning_rate * 0.02, rel=1e-4)
