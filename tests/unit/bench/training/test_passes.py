"""Every pass of an encoder is told, and what is exported of a pair is the branches that differ."""

import pytest
import torch
from torch import nn

from bench.config.run import Run
from bench.ticks import Phase
from bench.training import parts, passes
from bench.training.exported import exported
from bench.training.state import Training
from bench.views.pixels import normalise
from methods.macs import TrainingMacs
from tests.tiny import gated_run, tiny_run

IMAGES = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_passes_are_counted_from_the_one_before_the_first_and_no_longer_than_asked() -> None:
    said, encoder = list[tuple[int, int, Phase]](), nn.Identity()

    def tick(done: int, total: int, phase: Phase = "training", /) -> None:
        said.append((done, total, phase))
        if done == 2:
            raise KeyboardInterrupt

    def three() -> None:
        with passes.told(encoder, tick, "probing", 7):
            for _ in range(3):
                encoder(torch.zeros(1))

    with pytest.raises(KeyboardInterrupt):
        three()
    assert said == [(0, 7, "probing"), (1, 7, "probing"), (2, 7, "probing")]
    encoder(torch.zeros(1))
    assert len(said) == 3


def untrained(run: Run) -> Training:
    framework, method = parts.framework_for(run), parts.method_for(run)
    method.attach(framework.branches, 4)
    method.hold_out(normalise(IMAGES))
    optimizer = parts.optimizer_for(run, framework)
    return Training(
        framework=framework,
        method=method,
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.ConstantLR(optimizer),
        training_macs=TrainingMacs(framework.branches, (3, 32, 32), framework.passes),
    )


@pytest.mark.parametrize(
    ("framework", "method", "is_one"),
    [("simclr", "shared_gate", True), ("simclr", "dual_gate", False), ("byol", "shared_gate", False)],
)
def test_a_gated_target_is_exported_apart_unless_both_branches_are_one_function(
    framework: str,
    method: str,
    *,
    is_one: bool,
) -> None:
    phases, trained = list[Phase](), untrained(gated_run(framework, method, 1.5))
    stem = trained.framework.target.get_parameter("conv1.weight")
    with torch.no_grad():
        stem.add_(1.0)

    def tick(_done: int, _total: int, phase: Phase = "training", /) -> None:
        phases.append(phase)

    made = exported(trained, IMAGES, tick)
    assert made.target is not None
    assert (made.target is made.encoder) is is_one
    assert torch.equal(made.target.get_parameter("conv1.weight"), stem)
    assert made.features is not None
    assert len(made.features) == 4
    assert set(phases) == {"scoring"}


def test_without_gates_one_encoder_is_exported_and_no_image_seen() -> None:

    def tick(_done: int, _total: int, phase: Phase = "training", /) -> None:
        pytest.fail(phase)

    made = exported(untrained(tiny_run("byol", "dense")), IMAGES, tick)
    assert (made.target, made.gates, made.features) == (None, None, None)
