"""Whatever optimizer a run names, it is given every trained parameter once, or the name is refused."""

import dataclasses

import pytest

from bench.errors import RunError
from bench.training import parts
from bench.training.optimizers import OPTIMIZERS
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
