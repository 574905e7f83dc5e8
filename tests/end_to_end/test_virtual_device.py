"""On a device, runs mix no places, and steps have budgets of waits, copies and launches."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.config.run import Run
from bench.frameworks import FRAMEWORKS
from bench.ticks import silent
from bench.training import loop, parts
from methods import GATES, METHODS
from methods.draws import StepNoise
from methods.gating.mask_unit import MaskUnit
from tests.end_to_end.test_paper_parts import with_paper_parts
from tests.on_device import IMAGES, walked
from tests.strategies import TIED_ALONE, has_gap, takes
from tests.tiny import dataset_of, gated_run, tiny_run
from tests.virtual_device import CUDA, MixedDevices, OnDevice, virtual_cuda

STEPS, STOPS_AT = 4, 2
# Of a step on which no mask and no knob moves. Copies are from the host: labels' places, views' parameters and rows.
WAITS, COPIES = 2, 4
LAUNCHES_OF_WEIGHTS, LAUNCHES_OF_GATES = 700, 1650
LAUNCHES = {"feature_boosting": 1850, "group_gate": 2850}  # of gates with more to decide
WAITS_OF = {"vicreg": 5}  # Lightly's covariance loss, which no table needs, indexes by a mask
# Masks move, or groups are ranked, in every step of so short a run: it has no step that only trains.
ALWAYS_MOVE = (
    *("set_itop", "rigl_itop", "gradual_early", "ticket", "momentum_pruning"),
    *("sr_ste", "sr_ste_transposable", "group_lasso"),
)
# Where a ramp or a period may be set, so that the second step only trains; some methods have windows of their own.
WINDOWS: tuple[dict[str, Any], ...] = (
    {"start_fraction": 0.5, "end_fraction": 0.7, "period_fraction": 0.75},
    {"period_fraction": 0.75},
    {},
)


def pairs() -> list[tuple[str, str]]:
    """Return every method and every gate once, by turns with every framework that can have it."""
    found, order = list[tuple[str, str]](), list(FRAMEWORKS)
    for method in (*METHODS, *GATES):
        framework = next(each for each in order if suits(each, method))
        order.append(order.pop(order.index(framework)))
        found.append((framework, method))
    return found


def every_pair() -> list[tuple[str, str]]:
    """Return every framework with all methods and gates that it can have: ten CPU-minutes, so for ``--every-pair``."""
    return [
        (framework, method) for method in (*METHODS, *GATES) for framework in FRAMEWORKS if suits(framework, method)
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Deal out the pairs that are walked."""
    if "walked_pair" in metafunc.fixturenames:
        chosen = every_pair() if metafunc.config.getoption("--every-pair") else pairs()
        metafunc.parametrize("walked_pair", chosen, ids="-".join)


def suits(framework: str, method: str) -> bool:
    if method == "momentum_pruning":  # it takes whatever target does not learn, but is about this one
        return framework == "moco"
    tied = bool(FRAMEWORKS[framework].tied)  # type: ignore[attr-defined]  # of classes, called by what they build
    return (tied or method not in TIED_ALONE) if method in GATES else takes(method, tied=tied)


def short(framework: str, method: str) -> Run:
    """Return a run of so few steps that its second one only trains; with LARS where the paper has it."""
    gap = 0.3 if has_gap_of_weights(method) else 0.0
    run = gated_run(framework, method, 1.5) if method in GATES else tiny_run(framework, method, gap=gap)
    optimizer = with_paper_parts(run).optimizer if framework == "simclr" else run.optimizer
    run = dataclasses.replace(run, optimizer=dataclasses.replace(optimizer, steps=STEPS))
    settings = (dataclasses.replace(run.sparsity, **window) for window in WINDOWS)
    return next(each for each in (dataclasses.replace(run, sparsity=one) for one in settings) if can_be(each))


def can_be(run: Run) -> bool:
    try:
        parts.method_for(run)
    except ValueError:
        return False
    return True


def has_gap_of_weights(method: str) -> bool:
    return method in METHODS and has_gap(method)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_every_framework_method_and_gate_is_walked() -> None:
    chosen = pairs()
    assert [method for _, method in chosen] == [*METHODS, *GATES]
    for kind in (METHODS, GATES):
        assert {framework for framework, method in chosen if method in kind} == set(FRAMEWORKS)
    assert set(chosen) < set(every_pair())


def test_a_run_trains_resumes_and_is_scored_on_a_device_and_a_step_stays_within_its_budget(
    walked_pair: tuple[str, str], tmp_path: Path, cache: Path
) -> None:
    framework, method = walked_pair
    run = short(framework, method)
    walk = walked(run, dataset_of(run, cache), tmp_path, stops_at=STOPS_AT)
    assert len(walk.losses) == STEPS
    assert walk.correct == IMAGES  # the nearest image of each is itself
    assert walk.quiet or method in ALWAYS_MOVE
    launches = LAUNCHES_OF_GATES if method in GATES else LAUNCHES_OF_WEIGHTS
    for step in () if method in ALWAYS_MOVE else walk.quiet:
        assert 1 <= step.syncs.total() <= WAITS_OF.get(framework, WAITS), step.syncs
        assert step.copies.total() <= COPIES, step.copies
        assert 100 < step.launches.total() <= LAUNCHES.get(method, launches), step.launches


@pytest.mark.parametrize(("framework", "method"), [("byol", "spatial_gate"), ("barlow_twins", "synchronized")])
def test_where_a_run_stops_and_resumes_changes_no_bit_and_the_cpu_computes_the_same(
    framework: str, method: str, tmp_path: Path, cache: Path
) -> None:
    """The virtual device draws and rounds as the CPU does; a real one does neither."""
    run = short(framework, method)
    images = dataset_of(run, cache)
    losses = [walked(run, images, tmp_path / f"{place}", stops_at=place).losses for place in (1, 3)]
    trained = loop.pretrain(run, images, tmp_path / "cpu" / "c.pt", fabric=parts.fabric_for(run), tick=silent)
    assert losses == [trained.losses] * 2


@pytest.mark.parametrize("device", [torch.device("cpu"), CUDA])
def test_the_noise_of_a_step_is_drawn_on_its_device_and_depends_on_seed_and_step_alone(device: torch.device) -> None:
    with virtual_cuda() as counts:
        logits = torch.ones(4, 1, 40, 40).to(device)
        unit = MaskUnit(nn.Conv2d(3, 4, 3)).to(device).train()

        def decisions(noise: StepNoise, step: int) -> tuple[list[float], ...]:
            generator = noise.at(step, 100, device)
            assert generator.device == device
            before = counts.now()
            made = [unit.decided(logits, generator) for _ in range(2)]  # two layers, or two passes
            assert not +counts.since(before).copies
            return tuple(each.flatten().cpu().tolist() for each in made)

        once = StepNoise(3)
        found = {step: decisions(once, step) for step in (7, 8)}
        assert decisions(StepNoise(3), 7) == found[7]  # as after a resumption
        drawn = [*found[7], *found[8], *decisions(StepNoise(4), 7)]
        assert len({tuple(each) for each in drawn}) == len(drawn)  # no two layers, steps or seeds share theirs
        share = sum(map(sum, drawn)) / sum(map(len, drawn))
        assert abs(share - torch.sigmoid(torch.ones(())).item()) < 0.01  # of logistic noise at a logit of 1; 4 sigma


def test_the_virtual_device_refuses_and_counts() -> None:
    """So that the tests above see what they are for."""
    with virtual_cuda() as counts:
        there, here = torch.ones(3, device=CUDA), torch.ones(3)
        assert (there.device, there.is_cuda) == (CUDA, True)
        with pytest.raises(MixedDevices, match=r"tensors of cuda:0 and of the host"):
            there + here
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert isinstance(there * torch.tensor(2.0), OnDevice)  # a number of no dimension, as CUDA takes it
        assert not counts.syncs
        assert float(there.sum()) == 3.0
        assert there[there > 0].tolist() == [1.0, 1.0, 1.0]
        there.cpu()
        assert +counts.syncs == {"item": 1, "index by a mask": 1, "tolist": 1, "copy to the host": 1}
        here.to(CUDA)
        there.copy_(here)
        assert +counts.copies == {"to": 1, "copy_": 1}
        layer = nn.Linear(3, 2).to(CUDA)
        layer(there).sum().backward()
        assert isinstance(layer.weight.grad, OnDevice)
